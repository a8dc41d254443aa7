// What one would otherwise write for the job, as a reference: `node peer.js api` and `node peer.js worker`.
// A POST becomes a row and a persistent, confirmed message; a worker with a prefetch sends by SMTP, marks the row and
// acknowledges. No outbox, no lease, no fence, and one try.
import amqp from 'amqplib';
import express from 'express';
import mysql from 'mysql2/promise';
import nodemailer from 'nodemailer';

const QUEUE = 'express.notifications';
const PREFETCH = 50; // messages that a worker has under way
const SMTP_CONNECTIONS = 10; // of a worker; nodemailer's default is 5
const { DATABASE_URL, AMQP_URL, SMTP_URL, PORT } = process.env;

const pool = mysql.createPool({ uri: DATABASE_URL, connectionLimit: 20 });
const broker = await amqp.connect(AMQP_URL, { noDelay: true });

async function api() {
  await pool.query(`CREATE TABLE IF NOT EXISTS notifications (
    id BIGINT AUTO_INCREMENT PRIMARY KEY, recipient VARCHAR(512) NOT NULL, subject VARCHAR(255) NOT NULL,
    body TEXT NOT NULL, status VARCHAR(16) NOT NULL)`);
  const channel = await broker.createConfirmChannel();
  await channel.assertQueue(QUEUE, { durable: true });

  async function accept({ recipient, content }) {
    const [row] = await pool.execute(
      "INSERT INTO notifications (recipient, subject, body, status) VALUES (?, ?, ?, 'PENDING')",
      [recipient, content.subject, content.text],
    );
    const message = Buffer.from(JSON.stringify({ id: row.insertId }));
    await new Promise((resolve, reject) =>
      channel.sendToQueue(QUEUE, message, { persistent: true }, (error) => (error ? reject(error) : resolve())));
    return { id: row.insertId };
  }

  const app = express();
  app.use(express.json({ limit: '16mb' }));
  app.post('/v1/notifications', async (request, response) => {
    const items = Array.isArray(request.body) ? request.body : [request.body];
    response.status(202).json({ results: await Promise.all(items.map(accept)) });
  });
  app.listen(Number(PORT), '127.0.0.1', () => console.log('ready'));
}

async function worker() {
  const { hostname, port } = new URL(SMTP_URL);
  const mailer = nodemailer.createTransport({
    host: hostname, port: Number(port), ignoreTLS: true, pool: true, maxConnections: SMTP_CONNECTIONS, maxMessages: Infinity,
  });
  const channel = await broker.createChannel();
  await channel.assertQueue(QUEUE, { durable: true });
  await channel.prefetch(PREFETCH);
  await channel.consume(QUEUE, async (message) => {
    const { id } = JSON.parse(message.content.toString());
    const [[row]] = await pool.execute('SELECT status, recipient, subject, body FROM notifications WHERE id = ?', [id]);
    if (row.status !== 'SENT') {
      await mailer.sendMail({ from: 'peer@example.com', to: row.recipient, subject: row.subject, text: row.body });
      await pool.execute("UPDATE notifications SET status = 'SENT' WHERE id = ?", [id]);
    }
    channel.ack(message);
  });
  console.log('ready');
}

await { api, worker }[process.argv[2]]();
process.on('SIGTERM', () => process.exit(0));
