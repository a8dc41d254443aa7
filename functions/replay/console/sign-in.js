// The door: a key is typed in, tried, and kept if it may operate.

import * as api from "./api.js";
import {field, h, say, wrong} from "./dom.js";

const NOT_ENOUGH = "This key has not the scope operate, which the console needs.";

/** Ask for a key in `place`, for that `reason`; call `entered` with whose it is once it is right, and kept. */
export function door(place, reason, entered) {
  document.title = "Sign in · Tidings";
  const input = h("input", {id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true});
  const button = h("button", {class: "primary"}, "Sign in");
  const form = h(
    "form",
    {class: "card sign-in", novalidate: true},
    h("h1", {}, "Sign in"),
    h("p", {class: "hint"}, reason || "With an API key that has the scope operate."),
    field("API key", input, "It stays in this tab, and is gone when you close it."),
    button,
  );
  form.onsubmit = async event => {
    event.preventDefault();
    button.disabled = true;
    const {who, fault} = await tried(input.value.trim());
    button.disabled = false;
    if (who) return entered(who);
    wrong(input, fault);
    say(fault);
    input.select();
    return input.focus();
  };
  place.replaceChildren(form);
  input.focus();
}

/** Whose key it is, or what is wrong with it. */
async function tried(key) {
  if (!key) return {fault: "Type the key."};
  if (!/^[\x21-\x7e]+$/.test(key)) return {fault: "This is no key: a key has letters, digits and signs only."};
  try {
    const who = await api.whoHas(key);
    if (!who.scopes.includes("operate")) return {fault: NOT_ENOUGH};
    api.keepKey(key);
    return {who};
  } catch (error) {
    if (error.status === 401) return {fault: "This key is not valid."};
    if (error.status === 403) return {fault: NOT_ENOUGH};
    return {fault: `Nothing was found out about this key: ${error.message}.`};
  }
}
