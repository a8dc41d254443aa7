// Find the page that the address names, and keep it up to date.

import * as api from "./api.js";
import {h, say, show} from "./dom.js";
import {deadLetters, group} from "./dead.js";
import {notification} from "./notification.js";
import {notifications} from "./notifications.js";
import {overview} from "./overview.js";
import {forgetPlaces, place} from "./places.js";
import {door} from "./sign-in.js";
import {test} from "./test.js";
import {clock, zone} from "./words.js";

const EVERY = 2000; // milliseconds between two looks
const AT_MOST = 30_000; // between two looks while nothing answers

const PAGES = [
  {path: /^\/$/, open: overview},
  {path: /^\/notifications$/, open: notifications},
  {path: /^\/notifications\/([^/]+)$/, open: notification},
  {path: /^\/dead$/, open: deadLetters},
  {path: /^\/dead\/group$/, open: group},
  {path: /^\/test$/, open: test},
];
const LINKS = [
  ["/", "Overview"],
  ["/notifications", "Notifications"],
  ["/dead", "Dead letters"],
  ["/test", "Send a test"],
];

const main = document.getElementById("main");
let me = null; // {tenant, scopes}
let page = null; // {controller, refresh, timer, failures, busy, wanted, place, loaded, root}

// --- pages -----------------------------------------------------------------------------------------------------------

function address() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  return {path: path || "/", query: Object.fromEntries(new URLSearchParams(query))};
}

function go(focus = true) {
  leave();
  if (!me) return signIn();
  const {path, query} = address();
  const found = PAGES.find(one => one.path.test(path));
  if (!found) return location.replace("#/");
  const controller = new AbortController();
  const root = h("div", {class: "page"});
  main.replaceChildren(root);
  navigation(path);
  page = {controller, failures: 0, place: place(), root};
  const current = page;
  const opened = found.open({
    root,
    query,
    me,
    place: current.place,
    signal: controller.signal,
    argument: path.match(found.path)[1],
    title: text => {
      document.title = `${text} · Tidings`;
    },
    again: () => refresh(current),
  });
  current.refresh = opened;
  scrollTo(0, current.place.scroll || 0);
  if (focus) main.focus({preventScroll: true});
  refresh(current);
}

function leave() {
  if (!page) return;
  page.controller.abort();
  page.place.scroll = scrollY;
  page.place.link = document.activeElement?.closest("main a[href]")?.getAttribute("href");
  clearTimeout(page.timer);
  page = null;
  if (!unreachable) banner("");
  for (const dialog of document.querySelectorAll("dialog")) dialog.close("");
}

/** Look now, and again after a while: longer and longer while nothing answers. One look at a time, so that no answer
 * comes after a newer one. */
async function refresh(current) {
  clearTimeout(current.timer);
  current.wanted = true;
  if (current.busy) return;
  current.busy = true;
  while (current.wanted && current === page && current.refresh && !document.hidden) {
    current.wanted = false;
    await look(current);
  }
  current.busy = false;
  if (current !== page) return;
  current.timer = setTimeout(() => refresh(current), Math.min(EVERY * 2 ** Math.min(current.failures, 5), AT_MOST));
}

async function look(current) {
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
  h("p", {class: "nothing waiting"}, "Nothing could be loaded yet. It appears here as soon as the API answers.");

/** Back where one was, as far as the rows are there again. */
function restore({place: {scroll, link}, root}) {
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
  if (unreachable) say("Reachable again.");
  unreachable = null;
  banner("");
}

function problem(error) {
  if (error instanceof api.Unreachable || error.status >= 500) {
    unreachable ||= new Date();
    banner(`Not reachable since ${clock(unreachable)} (${error.message}). What you see is from before; trying again.`);
  } else if (error instanceof api.Refused) {
    banner(error.message);
  } else {
    banner("A fault of the console. Reload the page; the browser's console says more.");
    console.error(error);
  }
}

function banner(text) {
  const place = document.getElementById("banner");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

function navigation(path) {
  const nav = document.getElementById("nav");
  const here = target => (target === "/" ? path === "/" : path.startsWith(target));
  show(
    nav,
    LINKS.map(([target, text]) => h("a", {href: `#${target}`, "aria-current": here(target) && "page"}, text)),
  );
  nav.hidden = false;
  const who = document.getElementById("who");
  show(
    who,
    h(
      "span",
      {class: "tenant", title: `Its key may: ${me.scopes.join(", ")}`},
      h("span", {class: "unseen"}, "Tenant "),
      me.tenant,
    ),
    h("button", {type: "button", class: "quiet", onclick: () => signOut("You are signed out.")}, "Sign out"),
  );
  who.hidden = false;
  const footer = document.getElementById("zone");
  footer.textContent = `All times are in ${zone()}.`;
  footer.hidden = false;
}

// --- sign in and out -------------------------------------------------------------------------------------------------

function signIn(reason) {
  for (const id of ["nav", "who", "zone"]) document.getElementById(id).hidden = true;
  door(main, reason, found => {
    me = found;
    go();
  });
}

function signOut(reason) {
  api.forgetKey();
  me = null;
  leave();
  forgetPlaces();
  banner("");
  signIn(reason);
  say(reason);
}

api.onKeyRefused(() => signOut("The key is not valid any more. Sign in again."));

// --- start -----------------------------------------------------------------------------------------------------------

document.querySelector(".skip").onclick = event => {
  event.preventDefault(); // the part behind # is the page's name
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
    me = await api.whoHas(api.key());
    banner("");
    return go(false);
  } catch (error) {
    if (error.status === 401) return; // signed out already
    if (error.status === 403) return signOut(error.message);
    problem(error);
    if (!main.querySelector(".waiting")) main.replaceChildren(waiting());
    setTimeout(start, EVERY);
    return null;
  }
}
start();
