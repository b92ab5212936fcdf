-- Of the trials that came to a rung, how many were pruned there.
--
-- epochs   the rung; one at which no trial was pruned has no row
-- reached  finished trials that had trained so many epochs or more
WITH finished AS (
  SELECT t.study_id, t.state, CAST(e.value_json AS DECIMAL(10, 0)) AS epochs
  FROM trials AS t
  JOIN trial_user_attributes AS e ON e.trial_id = t.trial_id AND e.key = 'epochs'
  WHERE t.state IN ('COMPLETE', 'PRUNED')
),
rungs AS (
  SELECT study_id, epochs, COUNT(*) AS pruned
  FROM finished
  WHERE state = 'PRUNED'
  GROUP BY study_id, epochs
)
SELECT
  s.study_name AS study,
  r.epochs AS epochs,
  r.pruned AS pruned,
  COUNT(*) AS reached,
  ROUND(1.0000 * r.pruned / COUNT(*), 3) AS share -- MySQL divides to four digits more than the dividend has
FROM studies AS s
JOIN study_user_attributes AS ours ON ours.study_id = s.study_id AND ours.key = 'adamtune:schema'
JOIN rungs AS r ON r.study_id = s.study_id
JOIN finished AS f ON f.study_id = r.study_id AND f.epochs >= r.epochs
GROUP BY s.study_id, s.study_name, r.epochs, r.pruned
ORDER BY s.study_id, r.epochs;
