// Ten thousand connections at once, one notification each: for those who have k6 (https://k6.io).
//
//   TIDINGS_URL=http://127.0.0.1:8080 TIDINGS_API_KEY=tdg_... k6 run tests/load/burst.js
//
// `local/up` says both values (.tidings/env has them). k6 needs `ulimit -n 20000`, and so does the intake.
// TIDINGS_BURST=1000 makes it smaller. Without k6: `tests/load/bench --only burst` measures the same, and counts the rows.

import http from "k6/http";
import { check } from "k6";

const burst = Number(__ENV.TIDINGS_BURST || 10000);

export const options = {
  scenarios: {
    burst: { executor: "per-vu-iterations", vus: burst, iterations: 1, maxDuration: "2m" },
  },
  noConnectionReuse: true,
  thresholds: {
    http_req_failed: ["rate==0"],
    http_req_duration: ["p(99)<10000"], // milliseconds
    checks: ["rate==1"],
  },
};

export function setup() {
  if (!__ENV.TIDINGS_URL || !__ENV.TIDINGS_API_KEY) {
    throw new Error("set TIDINGS_URL and TIDINGS_API_KEY");
  }
  return { run: Date.now() }; // makes this run's keys its own
}

export default function (data) {
  const number = `${data.run}-${__VU}`;
  const answer = http.post(
    `${__ENV.TIDINGS_URL}/v1/notifications`,
    JSON.stringify({
      channel: "email",
      recipient: `customer-${number}@example.com`,
      content: { subject: "Your order is on its way", text: "It has left our house." },
      idempotency_key: `order-${number}-shipped`,
    }),
    {
      headers: { Authorization: `Bearer ${__ENV.TIDINGS_API_KEY}`, "Content-Type": "application/json" },
      timeout: "60s",
    },
  );
  check(answer, {
    "answered 202": (it) => it.status === 202,
    "with an id": (it) => it.status === 202 && Boolean(it.json("id")),
  });
}
