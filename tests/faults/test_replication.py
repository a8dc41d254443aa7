"""What a dead primary's log has beyond its replica, read from a real log."""

from pathlib import Path

from local.services.mariadb import MariaDB
from tests.faults.replication import Missing, logged, read, told

COLUMNS = {"id": 1, "recipient": 3}


def test_what_was_inserted_and_what_only_changed_after_a_position_is_told_apart(
    private_servers: None, tmp_path: Path
) -> None:
    with MariaDB(tmp_path, options=logged(1)) as server:
        told(
            server,
            "CREATE TABLE notifications (id VARCHAR(36) PRIMARY KEY, content TEXT, recipient VARCHAR(512))",
            "CREATE TABLE events (id VARCHAR(36) PRIMARY KEY, content TEXT, recipient VARCHAR(512))",
            "INSERT INTO notifications VALUES ('old', '', 'o@example.com'), ('untouched', '', 'u@example.com')",
        )
        position = told(server, "SELECT @@gtid_binlog_pos")[0][0]
        told(
            server,
            "BEGIN",
            "INSERT INTO notifications VALUES ('new', '\n###   @1=''x''', 'n@example.com')",
            "INSERT INTO notifications VALUES ('two', NULL, 't@example.com')",
            "INSERT INTO events VALUES ('event', '', 'nobody')",
            "COMMIT",
            "UPDATE notifications SET content = 'later' WHERE id IN ('old', 'new')",
        )
        end = told(server, "SELECT @@gtid_binlog_pos")[0][0]
        server.kill()
        assert read(server, end, COLUMNS) == Missing(transactions=0, inserted={}, changed={})
        assert read(server, position, COLUMNS) == Missing(
            transactions=2,
            inserted={"new": "n@example.com", "two": "t@example.com"},
            changed={"old": "o@example.com"},
        )
