// The actions an operator can take on one notification.

import * as api from "./api.js";
import {announce, confirm, expiryField, field, h, showMessage} from "./dom.js";
import {DOUBT, isDoubtful, sinceNow, state, utc} from "./format.js";

const REPLAYABLE = ["failed", "undelivered", "suppressed"];
const CANCELABLE = ["pending", "retrying"];

export function actions(found, again) {
  const button = (text, act, primary) =>
    h(
      "button",
      {
        key: text,
        type: "button",
        class: primary && "primary",
        onclick: async event => {
          event.target.disabled = true;
          await act();
          event.target.disabled = false;
          again();
        },
      },
      text,
    );
  const buttons = [];
  if (found.status === "unknown")
    buttons.push(button("Mark as arrived", () => markArrived(found), true), button("Send again", () => sendAgain(found)));
  if (REPLAYABLE.includes(found.status)) buttons.push(button("Replay", () => replay(found), true));
  if (CANCELABLE.includes(found.status)) buttons.push(button("Cancel notification", () => cancel(found)));
  return buttons.length > 0 && h("div", {class: "buttons"}, buttons);
}

async function markArrived(found) {
  const text = "Its status becomes sent, and its timeline names the operator. It will not be sent again.";
  if (await confirm({title: "Did it arrive?", action: "Yes, it arrived"}, h("p", {}, text)))
    await attempt(() => resolve(found, {outcome: "sent"}));
}

async function sendAgain(found) {
  const text = "If the last attempt arrived, the recipient gets it twice. Check with the provider first.";
  const expiry = await confirmWithExpiry(found, {title: "Send it again?", action: "Send again"}, h("p", {}, text));
  if (expiry) await attempt(() => resolve(found, {outcome: "replay", ...expiry}));
}

async function replay(found) {
  const expiry = await confirmWithExpiry(
    found,
    {title: "Replay it?", action: "Replay"},
    h("p", {}, "Its status becomes pending, and it gets its full number of attempts again."),
    found.may_have_been_sent && h("p", {}, h("strong", {}, "It may be sent twice: "), "an attempt may have been accepted."),
  );
  if (!expiry) return;
  await attempt(async () => {
    const done = await api.post("dead-letters/replay", {ids: [found.id], status: found.status, ...expiry});
    if (done.count) announce("It is pending again.");
    else if (done.expired) await showMessage("Not replayed", "It has expired. Replay it with a new expiry time.");
    else await showMessage("Not replayed", "Its status has changed: someone else acted first.");
  });
}

/** Ask to confirm; an expired notification also needs a new expiry time. The API's fields for it; null if declined. */
async function confirmWithExpiry(found, question, ...body) {
  const hasExpired = found.expires_at && sinceNow(found.expires_at) >= 0;
  const until = expiryField("new-expiry", {required: true});
  const sure = await confirm(
    {...question, check: () => !hasExpired || until.isValid()},
    body,
    hasExpired && field("Expires at", until.control, "It has expired: a new expiry time is required."),
  );
  return sure ? (hasExpired ? {expires_at: utc(until.control.value)} : {}) : null;
}

async function cancel(found) {
  const sure = await confirm(
    {title: "Cancel this notification?", action: "Cancel notification", otherwise: "Keep it"},
    h("p", {}, "It will not be sent, and cannot be replayed. An attempt under way is not stopped."),
    isDoubtful(found) && h("p", {}, h("strong", {}, DOUBT), " Canceling it does not undo that."),
  );
  if (!sure) return;
  await attempt(async () => {
    const canceled = await api.post(`notifications/${encodeURIComponent(found.id)}/cancel`);
    announce(`It is ${state(canceled)}.`);
    if (isDoubtful(canceled)) await showMessage("Canceled", DOUBT);
  }, "Not canceled");
}

const resolve = (found, decision) => api.post(`notifications/${encodeURIComponent(found.id)}/resolve`, decision);

/** Without an answer it is not known what was done; the page shows it after its next refresh. */
async function attempt(act, title = "Request failed") {
  try {
    await act();
  } catch (error) {
    if (api.isUncertain(error))
      await showMessage("No answer", `The request may have been carried out (${error.message}). Repeating it is harmless.`);
    else await showMessage(title, error.message);
  }
}
