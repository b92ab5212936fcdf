-- Trials that finished in each minute, and the epochs that they had trained, all passes together.
--
-- minute  in UTC; one in which no trial of the study finished has no row
SELECT
  s.study_name AS study,
  SUBSTR(CAST(t.datetime_complete AS CHAR(19)), 1, 16) AS minute, -- 1, 13 are hours
  COUNT(*) AS trials,
  SUM(CAST(e.value_json AS DECIMAL(10, 0))) AS epochs
FROM studies AS s
JOIN study_user_attributes AS ours ON ours.study_id = s.study_id AND ours.key = 'adamtune:schema'
JOIN trials AS t ON t.study_id = s.study_id AND t.state IN ('COMPLETE', 'PRUNED')
JOIN trial_user_attributes AS e ON e.trial_id = t.trial_id AND e.key = 'epochs'
GROUP BY s.study_id, s.study_name, SUBSTR(CAST(t.datetime_complete AS CHAR(19)), 1, 16)
ORDER BY s.study_id, minute;
