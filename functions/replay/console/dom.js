// Creates elements and updates them in place. Text is only ever inserted as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on…`: event handlers; `key`: identifies it among its siblings; `keep`: updates leave its content alone. */
export function h(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(node, props, children) {
  node.handlers = {};
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node[name] = node.handlers[name] = value;
    else if (name === "key" || name === "keep") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(
    ...children
      .flat(Infinity)
      .filter(child => child !== undefined && child !== null && child !== false && child !== ""),
  );
  return node;
}

/** Make the children of `parent` equal `wanted`. Nodes that are equal already are not touched, so that focus, selection,
 * scroll positions, open details and typed text stay. */
export function render(parent, ...wanted) {
  const fresh = document.createDocumentFragment();
  fresh.append(
    ...wanted.flat(Infinity).filter(child => child !== undefined && child !== null && child !== false && child !== ""),
  );
  updateChildren(parent, fresh);
}

function updateChildren(parent, wanted) {
  const keyed = new Map([...parent.childNodes].filter(node => node.key !== undefined).map(node => [node.key, node]));
  let at = parent.firstChild;
  for (const next of [...wanted.childNodes]) {
    const same =
      next.key !== undefined ? keyed.get(next.key) : at && at.key === undefined && isSameElement(at, next) ? at : null;
    if (!same || !isSameElement(same, next)) {
      parent.insertBefore(next, at);
    } else if (same === at) {
      at = at.nextSibling;
      update(same, next);
    } else {
      parent.insertBefore(same, at);
      update(same, next);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function isSameElement(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.key === other.key;
}

function update(node, wanted) {
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== wanted.data) node.data = wanted.data;
    return;
  }
  for (const {name, value} of [...wanted.attributes]) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const {name} of [...node.attributes]) {
    if (!wanted.hasAttribute(name) && name !== "open") node.removeAttribute(name);
  }
  for (const name of Object.keys(node.handlers || {})) if (!(name in wanted.handlers)) node[name] = null;
  Object.assign(node, wanted.handlers);
  node.handlers = wanted.handlers;
  if (!node.keep) updateChildren(node, wanted);
}

/** Announce to screen readers; not visible. */
export function announce(text) {
  const region = document.getElementById("announcement");
  region.textContent = "";
  // The same text is announced again only if the region was empty in between.
  setTimeout(() => {
    region.textContent = text;
  }, 50);
}

/** Ask in a dialog; true if confirmed. `check` can keep the dialog open. Escape declines. */
export const confirm = ({title, action, otherwise = "Cancel", check = () => true}, ...body) =>
  openDialog(
    title,
    body,
    [
      [action, "yes"],
      [otherwise, ""],
    ],
    check,
  );

/** Show a message in a dialog. */
export const showMessage = (title, text) => openDialog(title, h("p", {}, text), [["Close", ""]]);

let dialogs = 0;

function openDialog(title, body, answers, check = () => true) {
  return new Promise(resolve => {
    const id = `dialog-${++dialogs}`;
    const dialog = h(
      "dialog",
      {"aria-labelledby": id},
      h("h2", {id}, title),
      body,
      h(
        "div",
        {class: "buttons"},
        answers.map(([text, value]) =>
          h(
            "button",
            {type: "button", class: value && "primary", onclick: () => (!value || check()) && dialog.close(value)},
            text,
          ),
        ),
      ),
    );
    dialog.onclose = () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A form control with its label, a hint and an error message. */
export function field(label, control, hint) {
  const id = control.id;
  const described = [hint && `${id}-hint`, `${id}-error`].filter(Boolean).join(" ");
  control.setAttribute("aria-describedby", described);
  return h(
    "div",
    {class: "field"},
    h("label", {for: id}, label),
    control,
    hint && h("p", {class: "hint", id: `${id}-hint`}, hint),
    h("p", {class: "wrong", id: `${id}-error`, hidden: true}),
  );
}

/** A control for an expiry time in the browser's time zone. `isValid`: it is empty and optional, or in the future. */
export function expiryField(id, {required = false} = {}) {
  const control = h("input", {id, type: "datetime-local", required});
  const isValid = () => {
    const fine = control.validity.valid && (!control.value || Date.parse(control.value) > Date.now());
    setError(control, fine ? "" : "Enter a time in the future.");
    if (!fine) control.focus();
    return fine;
  };
  return {control, isValid};
}

/** Show an error below a control; "" removes it. */
export function setError(control, text) {
  const message = document.getElementById(`${control.id}-error`);
  message.textContent = text;
  message.hidden = !text;
  if (text) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}

export function select(props, options, chosen = "") {
  return h(
    "select",
    {...props, keep: true},
    options.map(([value, text]) => h("option", {value, selected: value === chosen}, text)),
  );
}
