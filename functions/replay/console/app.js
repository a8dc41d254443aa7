// Opens the page that the address names, and keeps it up to date.

import * as api from "./api.js";
import {announce, h, render} from "./dom.js";
import {deadLetters, group} from "./dead-letters.js";
import {notification} from "./notification.js";
import {notifications} from "./notifications.js";
import {overview} from "./overview.js";
import {currentEntry, forgetEntries} from "./history.js";
import {signInForm} from "./sign-in.js";
import {suppressions} from "./suppressions.js";
import {test} from "./test.js";
import {webhook, webhooks} from "./webhooks.js";
import {clock, zone} from "./format.js";

const REFRESH_EVERY = 2000; // milliseconds
const REFRESH_MAX = 30_000; // milliseconds, while nothing answers

const ROUTES = [
  {path: /^\/$/, open: overview},
  {path: /^\/notifications$/, open: notifications},
  {path: /^\/notifications\/([^/]+)$/, open: notification},
  {path: /^\/dead$/, open: deadLetters},
  {path: /^\/dead\/group$/, open: group},
  {path: /^\/suppressions$/, open: suppressions},
  {path: /^\/webhooks$/, open: webhooks},
  {path: /^\/webhooks\/([^/]+)$/, open: webhook},
  {path: /^\/test$/, open: test},
];
const LINKS = [
  ["/", "Overview"],
  ["/notifications", "Notifications"],
  ["/dead", "Dead letters"],
  ["/suppressions", "Suppressions"],
  ["/webhooks", "Webhooks"],
  ["/test", "Send a test"],
];

const main = document.getElementById("main");
let me = null; // {tenant, scopes}
let page = null; // {controller, refresh, timer, failures, busy, wanted, entry, loaded, root}

// --- pages -----------------------------------------------------------------------------------------------------------

function address() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  return {path: path || "/", query: Object.fromEntries(new URLSearchParams(query))};
}

function go(focus = true) {
  leave();
  if (!me) return signIn();
  const {path, query} = address();
  const found = ROUTES.find(one => one.path.test(path));
  if (!found) return location.replace("#/");
  const controller = new AbortController();
  const root = h("div", {class: "page"});
  main.replaceChildren(root);
  navigation(path);
  page = {controller, failures: 0, entry: currentEntry(), root};
  const current = page;
  const opened = found.open({
    root,
    query,
    me,
    entry: current.entry,
    signal: controller.signal,
    argument: path.match(found.path)[1],
    title: text => {
      document.title = `${text} · Tidings`;
    },
    again: () => refresh(current),
  });
  current.refresh = opened;
  scrollTo(0, current.entry.scroll || 0);
  if (focus) main.focus({preventScroll: true});
  refresh(current);
}

function leave() {
  if (!page) return;
  page.controller.abort();
  page.entry.scroll = scrollY;
  page.entry.link = document.activeElement?.closest("main a[href]")?.getAttribute("href");
  clearTimeout(page.timer);
  page = null;
  if (!unreachable) banner("");
  for (const dialog of document.querySelectorAll("dialog")) dialog.close("");
}

/** Refresh now, and again after a pause that grows while nothing answers. One refresh at a time, so that no answer
 * overwrites a newer one. */
async function refresh(current) {
  clearTimeout(current.timer);
  current.wanted = true;
  if (current.busy) return;
  current.busy = true;
  while (current.wanted && current === page && current.refresh && !document.hidden) {
    current.wanted = false;
    await refreshOnce(current);
  }
  current.busy = false;
  if (current !== page) return;
  current.timer = setTimeout(() => refresh(current), Math.min(REFRESH_EVERY * 2 ** Math.min(current.failures, 5), REFRESH_MAX));
}

async function refreshOnce(current) {
  try {
    await current.refresh();
    if (current === page) reached(current);
  } catch (error) {
    if (current !== page) return;
    current.failures += 1;
    current.refresh.stale?.();
    if (!current.loaded && !current.root.querySelector(".waiting")) current.root.append(waiting());
    problem(error);
  }
}

const waiting = () =>
  h("p", {class: "nothing waiting"}, "Nothing loaded yet. The page fills as soon as the API answers.");

/** Restore scroll position and focus, once the rows are there again. */
function restore({entry: {scroll, link}, root}) {
  if (scroll && scrollY < scroll) scrollTo(0, scroll);
  if (link && document.activeElement === main)
    root.querySelector(`a[href="${CSS.escape(link)}"]`)?.focus({preventScroll: true});
}

let unreachable = null; // since when

function reached(current) {
  current.failures = 0;
  if (!current.loaded) {
    current.loaded = true;
    current.root.querySelector(".waiting")?.remove();
    restore(current);
  }
  if (unreachable) announce("Connected again.");
  unreachable = null;
  banner("");
}

function problem(error) {
  if (error instanceof api.Unreachable || error.status >= 500) {
    unreachable ||= new Date();
    banner(`API unreachable since ${clock(unreachable)} (${error.message}). This page may be out of date. Retrying.`);
  } else if (error instanceof api.Refused) {
    banner(error.message);
  } else {
    banner("Internal error in the console. Reload the page. The browser's developer console has the details.");
    console.error(error);
  }
}

function banner(text) {
  const element = document.getElementById("banner");
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

function navigation(path) {
  const nav = document.getElementById("nav");
  const isCurrent = target => (target === "/" ? path === "/" : path.startsWith(target));
  render(
    nav,
    LINKS.map(([target, text]) => h("a", {href: `#${target}`, "aria-current": isCurrent(target) && "page"}, text)),
  );
  nav.hidden = false;
  const account = document.getElementById("account");
  render(
    account,
    h(
      "span",
      {class: "tenant", title: `Scopes of the API key: ${me.scopes.join(", ")}`},
      h("span", {class: "unseen"}, "Tenant "),
      me.tenant,
    ),
    h("button", {type: "button", class: "quiet", onclick: () => signOut("You are signed out.")}, "Sign out"),
  );
  account.hidden = false;
  const footer = document.getElementById("zone");
  footer.textContent = `All times are in ${zone()}.`;
  footer.hidden = false;
}

// --- sign in and out -------------------------------------------------------------------------------------------------

function signIn(reason) {
  for (const id of ["nav", "account", "zone"]) document.getElementById(id).hidden = true;
  signInForm(main, reason, found => {
    me = found;
    go();
  });
}

function signOut(reason) {
  api.forgetKey();
  me = null;
  leave();
  forgetEntries();
  banner("");
  signIn(reason);
  announce(reason);
}

api.onKeyRefused(() => signOut("The API key is no longer valid. Sign in again."));

// --- start -----------------------------------------------------------------------------------------------------------

document.querySelector(".skip").onclick = event => {
  event.preventDefault(); // the part after # names the page
  const heading = main.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  (heading || main).focus();
};
addEventListener("hashchange", () => go());
document.addEventListener("visibilitychange", () => {
  if (page && !document.hidden) refresh(page);
});

async function start() {
  if (!api.key()) return signIn();
  try {
    me = await api.whoami(api.key());
    banner("");
    return go(false);
  } catch (error) {
    if (error.status === 401) return; // signed out already
    if (error.status === 403) return signOut(error.message);
    problem(error);
    if (!main.querySelector(".waiting")) main.replaceChildren(waiting());
    setTimeout(start, REFRESH_EVERY);
    return null;
  }
}
start();
