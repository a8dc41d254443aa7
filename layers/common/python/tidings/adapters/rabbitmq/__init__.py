"""The Broker on RabbitMQ."""
