// Elements, made and brought up to date in place. Text only ever goes in as text: a notification brings no markup along.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on…` are handlers, `key` says which it is among its siblings, `keep` that its content is its own. */
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(node, props, children) {
  node.listens = {};
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node[name] = node.listens[name] = value;
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

/** Make `parent` hold what `wanted` says and touch nothing that is right already: focus, selection, scroll positions,
 * open details and whatever was typed stay. */
export function show(parent, ...wanted) {
  const fresh = document.createDocumentFragment();
  fresh.append(
    ...wanted.flat(Infinity).filter(child => child !== undefined && child !== null && child !== false && child !== ""),
  );
  children(parent, fresh);
}

function children(parent, wanted) {
  const keyed = new Map([...parent.childNodes].filter(node => node.key !== undefined).map(node => [node.key, node]));
  let at = parent.firstChild;
  for (const next of [...wanted.childNodes]) {
    const same =
      next.key !== undefined ? keyed.get(next.key) : at && at.key === undefined && alike(at, next) ? at : null;
    if (!same || !alike(same, next)) {
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

function alike(one, other) {
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
  for (const name of Object.keys(node.listens || {})) if (!(name in wanted.listens)) node[name] = null;
  Object.assign(node, wanted.listens);
  node.listens = wanted.listens;
  if (!node.keep) children(node, wanted);
}

/** Said by a screen reader, seen by nobody. */
export function say(text) {
  const region = document.getElementById("say");
  region.textContent = "";
  // Text that is the same as before is said again only where the region was empty in between.
  setTimeout(() => {
    region.textContent = text;
  }, 50);
}

/** Ask in a dialog; true if the answer is `action`, which is only taken where `check` finds nothing wrong. Escape is
 * no. */
export const asked = ({title, action, otherwise = "Cancel", check = () => true}, ...body) =>
  dialogue(
    title,
    body,
    [
      [action, "yes"],
      [otherwise, ""],
    ],
    check,
  );

export const confirmed = (title, action, ...body) => asked({title, action}, ...body);

/** Tell in a dialog. */
export const told = (title, text) => dialogue(title, h("p", {}, text), [["Close", ""]]);

let dialogues = 0;

function dialogue(title, body, answers, check = () => true) {
  return new Promise(resolve => {
    const id = `dialogue-${++dialogues}`;
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

/** A form's control with its label, a hint and room for what is wrong with it. */
export function field(label, control, hint) {
  const id = control.id;
  const described = [hint && `${id}-hint`, `${id}-wrong`].filter(Boolean).join(" ");
  control.setAttribute("aria-describedby", described);
  return h(
    "div",
    {class: "field"},
    h("label", {for: id}, label),
    control,
    hint && h("p", {class: "hint", id: `${id}-hint`}, hint),
    h("p", {class: "wrong", id: `${id}-wrong`, hidden: true}),
  );
}

/** A control for a time to expire, in the reader's own time, and whether what it holds is one that is still to come. */
export function expiryField(id, {required = false} = {}) {
  const control = h("input", {id, type: "datetime-local", required});
  const isValid = () => {
    const fine = control.validity.valid && (!control.value || Date.parse(control.value) > Date.now());
    wrong(control, fine ? "" : "A time that is still to come.");
    if (!fine) control.focus();
    return fine;
  };
  return {control, isValid};
}

/** Say below a control what is wrong with it; "" takes it back. */
export function wrong(control, text) {
  const place = document.getElementById(`${control.id}-wrong`);
  place.textContent = text;
  place.hidden = !text;
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
