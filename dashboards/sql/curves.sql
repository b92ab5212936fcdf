-- The reports of the five best trials of one study, given by its full name: complete ones that did not diverge.
--
-- place   1 is the best trial
-- epochs  trained when it reported, all passes together
SELECT b.place AS place, b.number AS trial, i.step AS epochs, i.intermediate_value AS value
FROM (
  SELECT
    t.trial_id,
    t.number,
    ROW_NUMBER() OVER (
      ORDER BY CASE d.direction WHEN 'MINIMIZE' THEN v.value ELSE -v.value END, t.number
    ) AS place
  FROM studies AS s
  JOIN study_user_attributes AS ours ON ours.study_id = s.study_id AND ours.key = 'adamtune:schema'
  JOIN study_directions AS d ON d.study_id = s.study_id AND d.objective = 0
  JOIN trials AS t ON t.study_id = s.study_id AND t.state = 'COMPLETE'
  JOIN trial_values AS v ON v.trial_id = t.trial_id AND v.objective = 0 AND v.value_type = 'FINITE'
  LEFT JOIN trial_user_attributes AS bad ON bad.trial_id = t.trial_id AND bad.key = 'diverged' AND bad.value_json = '1'
  WHERE s.study_name = :study AND bad.trial_id IS NULL
) AS b
JOIN trial_intermediate_values AS i ON i.trial_id = b.trial_id AND i.intermediate_value_type = 'FINITE'
WHERE b.place <= 5
ORDER BY b.place, i.step;
