// What a person decides about one notification.

import * as api from "./api.js";
import {asked, expiryField, field, h, say, told} from "./dom.js";
import {DOUBT, isDoubtful, sinceNow, state, utc} from "./words.js";

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
    buttons.push(button("It arrived", () => arrived(found), true), button("Send it again", () => sendAgain(found)));
  if (found.status === "failed") buttons.push(button("Replay", () => replay(found), true));
  if (CANCELABLE.includes(found.status)) buttons.push(button("Cancel it", () => cancel(found)));
  return buttons.length > 0 && h("div", {class: "buttons"}, buttons);
}

async function arrived(found) {
  const text = "It becomes sent, by your word: the timeline says “operator”. It will not be sent again.";
  if (await asked({title: "Did it arrive?", action: "Yes, it arrived"}, h("p", {}, text)))
    await tried(() => resolve(found, {outcome: "sent"}));
}

async function sendAgain(found) {
  const text = "If the last attempt did arrive, the recipient gets it twice. Look at the provider's side first.";
  const expiry = await askedToSend(found, {title: "Send it again?", action: "Send it again"}, h("p", {}, text));
  if (expiry) await tried(() => resolve(found, {outcome: "replay", ...expiry}));
}

async function replay(found) {
  const expiry = await askedToSend(
    found,
    {title: "Replay it?", action: "Replay"},
    h("p", {}, "It becomes pending again, with all its attempts."),
    found.may_have_been_sent && h("p", {}, h("strong", {}, "It may double: "), "an attempt may have been accepted."),
  );
  if (!expiry) return;
  await tried(async () => {
    const done = await api.post("dead-letters/replay", {ids: [found.id], status: found.status, ...expiry});
    if (done.count) say("It is pending again.");
    else if (done.expired) await told("It was not replayed", "It has expired. Replay it with a new time to expire.");
    else await told("It was not replayed", "It is no dead letter any more: somebody else was faster.");
  });
}

/** Ask, and for a new expiry where the old one is over. What the API is given of it; null: no. */
async function askedToSend(found, question, ...body) {
  const over = found.expires_at && sinceNow(found.expires_at) >= 0;
  const until = expiryField("new-expiry", {required: true});
  const sure = await asked(
    {...question, check: () => !over || until.isValid()},
    body,
    over && field("Expires at", until.control, "It has expired: without a new time it is not sent."),
  );
  return sure ? (over ? {expires_at: utc(until.control.value)} : {}) : null;
}

async function cancel(found) {
  const sure = await asked(
    {title: "Cancel it?", action: "Cancel it", otherwise: "Keep it"},
    h("p", {}, "It is not sent any more, and cannot be replayed. An attempt that is under way is not stopped."),
    isDoubtful(found) && h("p", {}, h("strong", {}, DOUBT), " Canceling it does not undo that."),
  );
  if (!sure) return;
  await tried(async () => {
    const canceled = await api.post(`notifications/${encodeURIComponent(found.id)}/cancel`);
    say(`It is ${state(canceled)}.`);
    if (isDoubtful(canceled)) await told("It is canceled", DOUBT);
  }, "It was not canceled");
}

const resolve = (found, decision) => api.post(`notifications/${encodeURIComponent(found.id)}/resolve`, decision);

/** An answer that does not come leaves open what was done; the page shows it as soon as it can be looked at. */
async function tried(act, title = "That did not work") {
  try {
    await act();
  } catch (error) {
    if (api.isOpen(error))
      await told("No answer came", `It may have been done all the same (${error.message}). Asking once more is harmless.`);
    else await told(title, error.message);
  }
}
