// The content of a notification, field by field.

import {h} from "./dom.js";
import {bytes} from "./format.js";

const ORDER = ["from", "reply_to", "cc", "bcc", "subject", "title", "text", "body", "html"];
const LABELS = {html: "html, as source", reply_to: "reply to"};

export function content(found) {
  const parts = Object.entries(found.content || {}).filter(([, value]) => !isEmpty(value));
  const place = ([name]) => (ORDER.indexOf(name) + 1 || ORDER.length + 1);
  parts.sort((one, other) => place(one) - place(other));
  return h(
    "section",
    {class: "card", "aria-labelledby": "content"},
    h("h2", {id: "content"}, "Content"),
    parts.map(([name, value]) =>
      h("div", {key: name, class: "content-field"}, h("h3", {}, LABELS[name] || name), part(name, value)),
    ),
  );
}

const isEmpty = value =>
  value === null || value === "" || (typeof value === "object" && !Object.keys(value).length);

function part(name, value) {
  if (name === "attachments") return h("ul", {}, value.map(attachment));
  if (Array.isArray(value) && value.every(one => typeof one === "string"))
    return h("ul", {}, value.map(one => h("li", {}, h("bdi", {}, one))));
  if (typeof value === "object") return definitionList(value);
  return h("pre", {dir: "auto", tabindex: "0", role: "region", "aria-label": name}, String(value));
}

/** Name, type and size; not the base64. */
function attachment({filename, content_type: type, content: base64}) {
  const size = Math.floor((base64.replace(/=+$/, "").length * 3) / 4);
  return h("li", {}, h("bdi", {}, filename), h("small", {}, ` ${type || "application/octet-stream"}, ${bytes(size)}`));
}

function definitionList(value) {
  const text = one => (typeof one === "string" ? one : JSON.stringify(one));
  return h(
    "dl",
    {},
    Object.entries(value).map(([name, one]) =>
      h("div", {key: name}, h("dt", {}, h("bdi", {}, name)), h("dd", {}, h("bdi", {}, text(one)))),
    ),
  );
}
