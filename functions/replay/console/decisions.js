// What a person decides about one notification.

import * as api from "./api.js";
import {confirmed, h, told} from "./dom.js";
import {MAY_DOUBLE} from "./words.js";

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
  if (found.status === "unknown")
    return h(
      "div",
      {class: "buttons"},
      button("It arrived", () => resolve(found, "sent"), true),
      button("Send it again", () => resolve(found, "replay")),
    );
  if (found.status === "failed")
    return h(
      "div",
      {class: "buttons"},
      button("Replay", () => replay(found), true),
    );
  return null;
}

async function resolve(found, outcome) {
  const [title, action, text] =
    outcome === "sent"
      ? [
          "Did it arrive?",
          "Yes, it arrived",
          "It becomes sent, by your word: the timeline says “operator”. It will not be sent again.",
        ]
      : [
          "Send it again?",
          "Send it again",
          "If the last attempt did arrive, the recipient gets it twice. Look at the provider's side first.",
        ];
  if (!(await confirmed(title, action, h("p", {}, text)))) return;
  await tried(() => api.post(`notifications/${encodeURIComponent(found.id)}/resolve`, {outcome}));
}

async function replay(found) {
  const doubles = found.last_error?.error_class === MAY_DOUBLE;
  const sure = await confirmed(
    "Replay it?",
    "Replay",
    h("p", {}, "It becomes pending again, with all its attempts."),
    doubles && h("p", {}, h("strong", {}, "It may double: "), "the last attempt may have been accepted."),
  );
  if (sure) await tried(() => api.post("dead-letters/replay", {ids: [found.id], status: found.status}));
}

async function tried(act) {
  try {
    await act();
  } catch (error) {
    await told("That did not work", error.message);
  }
}
