-- After a restore of the database from a backup (MySQL, MariaDB), before anything of Tidings runs again:
-- what had not come to its end when the backup was made may have been sent since. It becomes `unknown`, with the code
-- `restored`, so that nothing of it is sent before an operator has looked. docs/runbooks.md says how.
-- Twice is harmless. What is not due before now was not sent, and stays as it is.
START TRANSACTION;

INSERT INTO events (notification_id, generation, attempt, status, at, error_class, error_code, error_message, spared)
SELECT id, generation, attempt, 'unknown', UTC_TIMESTAMP(6), 'ambiguous', 'restored',
       'restored from a backup: it may have been sent since', 0
FROM notifications
WHERE status IN ('pending', 'retrying', 'sending') AND (send_at IS NULL OR send_at <= UTC_TIMESTAMP(6));

UPDATE notifications
SET status = 'unknown', error_class = 'ambiguous', error_code = 'restored',
    error_message = 'restored from a backup: it may have been sent since',
    wake_at = NULL, lease_until = NULL, token = NULL, updated_at = UTC_TIMESTAMP(6)
WHERE status IN ('pending', 'retrying', 'sending') AND (send_at IS NULL OR send_at <= UTC_TIMESTAMP(6));

COMMIT;
