// Reads cases as JSON: secret, headers, body in base64. Writes what the library says to each: the event, or its error.
const { Webhook } = require("standardwebhooks");

const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
const verdicts = cases.map(({ secret, headers, body }) => {
  try {
    return { event: new Webhook(secret).verify(Buffer.from(body, "base64"), headers) };
  } catch (error) {
    return { error: error.message };
  }
});
process.stdout.write(JSON.stringify(verdicts));
