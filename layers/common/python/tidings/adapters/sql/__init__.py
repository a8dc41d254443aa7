"""The Store and the Insight on SQLite, MySQL and MariaDB: a module a verb."""
