// The page that sends a test notification.

import * as api from "./api.js";
import {announce, field, h, select, setError} from "./dom.js";
import {NAMES} from "./format.js";
import {CHANNELS} from "./registry.js";

const LONG = ["text", "body"];
const SHORT = ["subject", "title"];
const titled = name => name[0].toUpperCase() + name.slice(1);

/** The form follows the channel's example: its recipient, and each field of its content that is a text. */
function shape(channel) {
  const {label, recipient, content} = CHANNELS[channel];
  const [kind, example] = typeof recipient === "string" ? ["recipient", recipient] : Object.entries(recipient)[0];
  const names = Object.keys(content).filter(name => typeof content[name] === "string");
  return {label, kind, example, content, names};
}

export function test({root, me, title, signal}) {
  title("Send a test");
  const may = me.scopes.includes("send");
  const channel = select({id: "channel"}, Object.entries(NAMES));
  const inputs = h("div", {class: "inputs"});
  const fault = h("p", {class: "wrong", role: "alert", hidden: true});
  const button = h("button", {class: "primary", disabled: !may}, "Send");
  const form = h(
    "form",
    {class: "card test", novalidate: true},
    field("Channel", channel),
    inputs,
    fault,
    h("div", {class: "buttons"}, button),
  );
  root.append(
    h("div", {class: "heading"}, h("h1", {}, "Send a test")),
    h(
      "p",
      {class: "hint"},
      may
        ? "Sends a real notification through the real provider, then shows its timeline."
        : "Your API key lacks the scope send, which this page needs.",
    ),
    form,
  );
  const fill = () => inputs.replaceChildren(...fields(channel.value));
  channel.onchange = fill;
  fill();
  // One idempotency key for each filled form: pressing Send again after a lost answer sends nothing twice.
  let idempotencyKey = null;
  form.oninput = () => {
    idempotencyKey = null;
  };
  form.onsubmit = async event => {
    event.preventDefault();
    idempotencyKey ||= randomKey();
    button.disabled = true;
    fault.hidden = true;
    for (const input of form.querySelectorAll("input, textarea")) setError(input, "");
    try {
      const {id} = await api.post("notifications", bodyOf(channel.value, form), {
        headers: {"idempotency-key": idempotencyKey},
        signal,
      });
      announce("Accepted.");
      location.hash = `#/notifications/${id}`;
    } catch (error) {
      if (!signal.aborted) showErrors(error, form, fault);
    }
    button.disabled = !may;
  };
  return null;
}

function fields(channel) {
  const {label, kind, example, content, names} = shape(channel);
  const start = name => {
    if (LONG.includes(name)) return `If you can read this, ${label} works.`;
    return SHORT.includes(name) ? "A test from Tidings" : content[name];
  };
  return [
    field(
      titled(kind),
      h("input", {id: "recipient", autocomplete: "off", spellcheck: "false", placeholder: example, required: true}),
    ),
    ...names.map(name =>
      field(
        titled(name),
        LONG.includes(name) ? h("textarea", {id: name, rows: "3"}, start(name)) : h("input", {id: name, value: start(name)}),
      ),
    ),
  ];
}

function bodyOf(channel, form) {
  const {kind, names} = shape(channel);
  const to = form.querySelector("#recipient").value.trim();
  const content = Object.fromEntries(names.map(name => [name, form.querySelector(`#${name}`).value]));
  return {channel, recipient: kind === "recipient" ? to : {[kind]: to}, content, metadata: {sent_from: "console"}};
}

/** Show an error at its field, if the API names a field of the form; else below the form. */
function showErrors(error, form, fault) {
  let first = null;
  for (const one of error.errors || []) {
    const name = (one.pointer || one.field || "")
      .split(/[/.]/)
      .filter(Boolean)
      .find(part => form.querySelector(`#${CSS.escape(part)}`));
    if (!name) continue;
    const input = form.querySelector(`#${CSS.escape(name)}`);
    setError(input, one.detail);
    first ||= input;
  }
  if (first) return first.focus();
  fault.textContent = error.message;
  fault.hidden = false;
  return null;
}

function randomKey() {
  return `console-${[...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("")}`;
}
