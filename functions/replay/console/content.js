// What a notification says, part by part.

import {h} from "./dom.js";
import {bytes} from "./words.js";

const FIRST = ["from", "reply_to", "cc", "bcc", "subject", "title", "text", "body", "html"];
const LABELS = {html: "html, as source", reply_to: "reply to"};

export function content(found) {
  const parts = Object.entries(found.content || {}).filter(([, value]) => !isEmpty(value));
  const place = ([name]) => (FIRST.indexOf(name) + 1 || FIRST.length + 1);
  parts.sort((one, other) => place(one) - place(other));
  return h(
    "section",
    {class: "card", "aria-labelledby": "content"},
    h("h2", {id: "content"}, "Content"),
    parts.map(([name, value]) =>
      h("div", {key: name, class: "said"}, h("h3", {}, LABELS[name] || name), part(name, value)),
    ),
  );
}

const isEmpty = value =>
  value === null || value === "" || (typeof value === "object" && !Object.keys(value).length);

function part(name, value) {
  if (name === "attachments") return h("ul", {class: "attachments"}, value.map(attachment));
  if (Array.isArray(value) && value.every(one => typeof one === "string"))
    return h("ul", {}, value.map(one => h("li", {}, h("bdi", {}, one))));
  if (typeof value === "object") return pairs(value);
  return h("pre", {dir: "auto", tabindex: "0", role: "region", "aria-label": name}, String(value));
}

/** Its base64 is nothing that one reads. */
function attachment({filename, content_type: type, content: base64}) {
  const size = Math.floor((base64.replace(/=+$/, "").length * 3) / 4);
  return h("li", {}, h("bdi", {}, filename), h("small", {}, ` ${type || "application/octet-stream"}, ${bytes(size)}`));
}

function pairs(value) {
  const text = one => (typeof one === "string" ? one : JSON.stringify(one));
  return h(
    "dl",
    {},
    Object.entries(value).map(([name, one]) =>
      h("div", {key: name}, h("dt", {}, h("bdi", {}, name)), h("dd", {}, h("bdi", {}, text(one)))),
    ),
  );
}
