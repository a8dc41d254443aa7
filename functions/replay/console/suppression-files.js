// Import suppressions from a file, and export them to one.

import * as api from "./api.js";
import {announce, field, h, render, setError} from "./dom.js";
import {count, many} from "./format.js";

const MAX_BYTES = 16 * 1024 * 1024; // as the API
const SHOWN = 1000; // bad lines

export function exchange(changed, signal) {
  const file = h("input", {id: "file", type: "file", accept: ".csv,.ndjson,.jsonl,.json,.txt,text/csv"});
  const button = h("button", {class: "primary"}, "Import");
  const result = h("div", {class: "result"});
  const form = h(
    "form",
    {novalidate: true},
    field("File", file, "CSV whose first line names columns: channel, recipient, reason, expires_at, note, scope; or a JSON object a line. Up to 100,000 lines. Importing a file again is harmless."),
    h("div", {class: "buttons"}, button),
  );
  form.onsubmit = async event => {
    event.preventDefault();
    const [chosen] = file.files;
    const fault = !chosen ? "Choose a file." : chosen.size > MAX_BYTES ? "The file has more than 16 MiB: split it." : "";
    setError(file, fault);
    if (fault) return file.focus();
    button.disabled = true;
    render(result, h("p", {class: "hint"}, "Importing …"));
    try {
      const done = await api.postFile("suppressions/import", chosen, "text/csv", signal);
      render(result, imported(done));
      announce(`${count(done.stored)} stored, ${many(done.bad, "bad line")}.`);
      changed();
    } catch (error) {
      if (signal.aborted) return null;
      const perhaps = api.isUncertain(error) ? " Some lines may be stored. Import the file again: that is harmless." : "";
      render(result, h("p", {class: "wrong", role: "alert"}, error.message + perhaps));
    }
    button.disabled = false;
    return null;
  };
  return h(
    "section",
    {class: "card", "aria-labelledby": "exchange"},
    h("h2", {id: "exchange"}, "Import and export"),
    form,
    result,
    h("div", {class: "buttons"}, exportButton(result, signal)),
  );
}

function imported({stored, bad, errors}) {
  return [
    h("p", {}, h("b", {}, `${count(stored)} stored, ${many(bad, "bad line")}.`)),
    bad > 0 &&
      h(
        "div",
        {class: "scroll bad-lines", tabindex: "0", role: "region", "aria-label": "Bad lines"},
        h(
          "ol",
          {},
          errors.slice(0, SHOWN).map(one => h("li", {}, `Line ${one.line}: `, h("bdi", {}, one.error))),
        ),
      ),
    bad > SHOWN && h("p", {class: "hint"}, `These are the first ${count(SHOWN)}. Correct them, and import the file again to see the others.`),
  ];
}

function exportButton(result, signal) {
  const button = h("button", {type: "button"}, "Export what is in force");
  button.onclick = async () => {
    button.disabled = true;
    try {
      const pages = await all(signal);
      download(new Blob(pages, {type: "application/x-ndjson"}), "suppressions.ndjson");
      announce("Exported.");
    } catch (error) {
      if (!signal.aborted) render(result, h("p", {class: "wrong", role: "alert"}, `Nothing was exported. ${error.message}`));
    }
    button.disabled = false;
  };
  return button;
}

async function all(signal) {
  const pages = [];
  let cursor;
  do {
    const page = await api.lines("suppressions/export", {cursor}, signal);
    pages.push(page.text);
    cursor = page.cursor;
  } while (cursor);
  return pages;
}

function download(blob, name) {
  const link = h("a", {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
