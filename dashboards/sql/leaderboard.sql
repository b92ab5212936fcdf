-- The studies that adamtune made, those of one task together, the best first.
--
-- trials         how many have finished: complete, pruned and diverged ones
-- best           over complete trials that did not diverge; a pruned trial's value is of fewer epochs, and a diverged
--                one's is a penalty
-- default_value  of trial 0, which trains the optimizer's defaults; NULL where it was pruned or diverged
-- started, ended when the first trial began and the last one ended, in UTC
SELECT
  s.study_name AS study,
  -- Texts are stored as JSON, in ASCII: without their quotes they are plain.
  SUBSTR(task.value_json, 2, LENGTH(task.value_json) - 2) AS task,
  SUBSTR(optimizer.value_json, 2, LENGTH(optimizer.value_json) - 2) AS optimizer,
  SUBSTR(objective.value_json, 2, LENGTH(objective.value_json) - 2) AS objective,
  CASE d.direction WHEN 'MINIMIZE' THEN 'minimize' ELSE 'maximize' END AS direction,
  COUNT(CASE WHEN t.state IN ('COMPLETE', 'PRUNED') THEN 1 END) AS trials,
  CASE d.direction WHEN 'MINIMIZE' THEN MIN(v.value) ELSE MAX(v.value) END AS best,
  MAX(CASE WHEN t.number = 0 THEN v.value END) AS default_value,
  SUBSTR(CAST(MIN(t.datetime_start) AS CHAR(19)), 1, 19) AS started,
  SUBSTR(CAST(MAX(t.datetime_complete) AS CHAR(19)), 1, 19) AS ended
FROM studies AS s
-- Written last of all that says what a study is: other studies in the database have none.
JOIN study_user_attributes AS ours ON ours.study_id = s.study_id AND ours.key = 'adamtune:schema'
JOIN study_user_attributes AS task ON task.study_id = s.study_id AND task.key = 'adamtune:task'
JOIN study_user_attributes AS optimizer ON optimizer.study_id = s.study_id AND optimizer.key = 'adamtune:optimizer'
JOIN study_user_attributes AS objective ON objective.study_id = s.study_id AND objective.key = 'adamtune:objective'
JOIN study_directions AS d ON d.study_id = s.study_id AND d.objective = 0
LEFT JOIN trials AS t ON t.study_id = s.study_id
LEFT JOIN trial_user_attributes AS bad ON bad.trial_id = t.trial_id AND bad.key = 'diverged' AND bad.value_json = '1'
LEFT JOIN trial_values AS v
  ON v.trial_id = t.trial_id AND v.objective = 0 AND t.state = 'COMPLETE' AND bad.trial_id IS NULL
GROUP BY s.study_id, s.study_name, task.value_json, optimizer.value_json, objective.value_json, d.direction
ORDER BY
  task.value_json,
  objective.value_json,
  CASE WHEN MIN(v.value) IS NULL THEN 1 ELSE 0 END, -- databases differ in where NULL stands
  CASE d.direction WHEN 'MINIMIZE' THEN MIN(v.value) ELSE -MAX(v.value) END,
  s.study_id;
