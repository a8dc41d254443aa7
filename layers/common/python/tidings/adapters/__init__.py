"""The ports on SQL databases, on RabbitMQ, and embedded in the database."""
