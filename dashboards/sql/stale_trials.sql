-- Trials that run since before a moment, in UTC: slow ones, and those whose process was killed. The moment is given,
-- because every database has its own words for "an hour ago".
--
-- epochs  at the last report; 0 before the first
SELECT
  s.study_name AS study,
  t.number AS trial,
  SUBSTR(CAST(t.datetime_start AS CHAR(19)), 1, 19) AS started,
  COALESCE(MAX(i.step), 0) AS epochs
FROM studies AS s
JOIN study_user_attributes AS ours ON ours.study_id = s.study_id AND ours.key = 'adamtune:schema'
JOIN trials AS t ON t.study_id = s.study_id
LEFT JOIN trial_intermediate_values AS i ON i.trial_id = t.trial_id
WHERE t.state = 'RUNNING' AND t.datetime_start < :before
GROUP BY s.study_id, s.study_name, t.trial_id, t.number, t.datetime_start
ORDER BY t.datetime_start, t.trial_id;
