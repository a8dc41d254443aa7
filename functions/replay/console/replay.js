// Replay: first what it would do, then a person's word, then how it goes. What is unknown may be decided as arrived, too.

import * as api from "./api.js";
import {confirmed, expiryField, field, h, say, show, wrong} from "./dom.js";
import {rows} from "./listing.js";
import {Arrivals, MOST, Run} from "./replaying.js";
import {chip, count, many, utc, zone} from "./words.js";

const SAMPLE = 5; // shown

export function replayPanel({filters: chosen, signal, again}) {
  // Named, also where the page has both: what is unknown may double, and is replayed only where that was asked for.
  const filters = {...chosen, status: chosen.status || "failed"};
  const limit = h("input", {
    id: "limit",
    type: "number",
    min: "1",
    max: `${MOST}`,
    value: "1000",
    inputmode: "numeric",
    required: true,
  });
  const rate = h("input", {id: "rate", type: "number", min: "1", max: `${MOST}`, inputmode: "numeric"});
  const until = expiryField("expires");
  const outcome = h("div", {class: "outcome"});
  const form = h(
    "form",
    {novalidate: true},
    field("At most", limit, "notifications, the oldest first"),
    field("A second", rate, "empty: as fast as can be"),
    field("Expires at", until.control, `of what has expired, in ${zone()}; empty: that is left out`),
    h("div", {class: "buttons"}, h("button", {class: "primary"}, "Dry run")),
  );
  const panel = h(
    "section",
    {class: "card replay", "aria-labelledby": "replay"},
    h("h2", {id: "replay"}, "Replay"),
    h("p", {class: "hint"}, "A dry run counts and changes nothing. You decide after it."),
    !chosen.status &&
      h(
        "p",
        {class: "hint"},
        "Only what has failed is replayed here. ",
        h("a", {href: `#/dead/group${api.search({...chosen, status: "unknown"})}`}, "Decide what is unknown"),
      ),
    form,
    outcome,
  );
  const state = {filters, signal, again, paint: () => show(outcome, view(state))};
  const ask = async event => {
    event.preventDefault();
    if (state.run && state.run.phase !== "over") return;
    if (![...[limit, rate].map(valid), until.isValid()].every(Boolean)) return;
    Object.assign(state, {
      limit: Number(limit.value),
      rate: rate.value ? Number(rate.value) : undefined,
      expires: utc(until.control.value) || undefined,
      dry: null,
      run: null,
      fault: "",
    });
    await tried(state, async () => {
      const {limit: most, expires: expires_at} = state;
      state.dry = await api.post("dead-letters/replay", {...filters, dry_run: true, limit: most, expires_at}, {signal});
    });
    if (state.dry) say(told(state).filter(Boolean).join(" "));
  };
  form.onsubmit = ask;
  // A number that was changed is not the one that was counted with.
  form.oninput = () => {
    if (state.run) return;
    state.dry = null;
    state.paint();
  };
  return {panel, refresh: () => followed(state)};
}

function valid(input) {
  const fine = input.validity.valid;
  wrong(input, fine ? "" : `A whole number from 1 to ${count(MOST)}.`);
  if (!fine) input.focus();
  return fine;
}

async function tried(state, act) {
  try {
    await act();
  } catch (error) {
    if (state.signal.aborted) return;
    state.fault = error.message;
    say(error.message);
  }
  state.paint();
}

// --- what is seen ----------------------------------------------------------------------------------------------------

const planned = ({dry, limit}) => Math.min(dry.count, limit);

function told(state) {
  const {dry, rate} = state,
    number = planned(state);
  if (!number) return ["Nothing would be replayed.", "", ...leftOut(dry)];
  const rest = dry.count > number ? ` of ${count(dry.count)}` : "";
  return [
    `${many(number, "notification")}${rest} would be replayed${rate ? `, ${count(rate)} a second: within ${count(Math.ceil(number / rate))} s` : ""}.`,
    dry.may_double
      ? `${count(dry.may_double)} of them may double: an attempt may have been accepted.`
      : "None of them can double: each was proven not accepted.",
    ...leftOut(dry),
  ];
}

const leftOut = ({expired, unknown}) => [
  ...(expired ? [`${count(expired)} more have expired and are left out: they need a new time to expire.`] : []),
  ...(unknown ? [`${count(unknown)} more are unknown and left out: they may have arrived.`] : []),
];

function view(state) {
  const {dry, run, fault} = state;
  return [
    fault && h("p", {key: "fault", class: "wrong", role: "alert"}, fault),
    run ? progress(state) : dry && plan(state),
  ];
}

function plan(state) {
  const {dry} = state,
    number = planned(state),
    [first, second, ...rest] = told(state);
  return h(
    "div",
    {key: "plan", class: "plan"},
    h("p", {class: "big"}, first),
    second && h("p", {class: dry.may_double ? "doubles" : "safe"}, second),
    rest.map(line => h("p", {key: line, class: "hint"}, line)),
    number > 0 &&
      h(
        "div",
        {class: "buttons"},
        h("button", {type: "button", class: "primary", onclick: () => replay(state)}, `Replay ${count(number)} now`),
        state.filters.status === "unknown" &&
          h("button", {type: "button", onclick: () => arrived(state)}, `Mark ${count(number)} as arrived`),
      ),
    dry.sample.length > 0 &&
      h(
        "details",
        {open: true},
        h("summary", {}, `A sample: the first ${Math.min(dry.sample.length, SAMPLE)}`),
        rows(dry.sample.slice(0, SAMPLE)),
      ),
  );
}

const DOING = {
  collect: "Listing them …",
  revive: "Setting them back to pending …",
  decide: "Marking them as sent …",
  follow: "On their way. You may leave this page: it goes on without you.",
};

function progress({run}) {
  const late = run.phase === "follow" && !run.rate ? run.ids.length - run.queued : 0;
  return h(
    "div",
    {key: "run", class: "run"},
    h("p", {class: "big"}, run.phase === "over" ? ending(run) : `${count(run.settled)} of ${count(run.total)} settled`),
    h("progress", {max: `${Math.max(run.total, 1)}`, value: `${run.settled}`, "aria-label": "Settled"}),
    run.phase !== "over" && h("p", {class: "hint"}, DOING[run.phase]),
    h(
      "p",
      {class: "counts"},
      largestFirst(run.statuses).map(([status, number]) =>
        h("span", {key: status}, chip(status), ` ${count(number)} `),
      ),
    ),
    run.doubtful > 0 &&
      h("p", {class: "doubt"}, `${count(run.doubtful)} of those that are not sent may have been: an attempt may have been accepted.`),
    notes(run).map(text => h("p", {key: text, class: "hint"}, text)),
    late > 0 && h("p", {class: "hint"}, `${count(late)} are not queued yet: the sweep does that when they are due.`),
    ["revive", "decide"].includes(run.phase) && h("div", {class: "buttons"}, stopping(run)),
  );
}

function stopping(run) {
  const stop = () => {
    run.stopped = true;
  };
  return h("button", {type: "button", onclick: stop}, run.phase === "decide" ? "Stop" : "Stop after this page");
}

/** What else came of it, and would be missed in the counts. */
const notes = ({expired, lost}) => [
  ...(expired ? [`${many(expired, "has", "have")} expired: left out.`] : []),
  ...(lost ? ["No answer came to a call: what it did is not known here. A dry run says what is left."] : []),
];

function ending({ids, statuses, lost, expired}) {
  if (!ids.length && lost) return "Nobody knows what was changed.";
  if (!ids.length && expired) return "Nothing was changed.";
  if (!ids.length) return "Nothing was changed: they were not dead letters any more.";
  return `Settled: ${largestFirst(statuses)
    .map(([status, number]) => `${count(number)} ${status}`)
    .join(", ")}.`;
}

const largestFirst = statuses => Object.entries(statuses).sort(([, one], [, other]) => other - one);

// --- what is done ----------------------------------------------------------------------------------------------------

async function replay(state) {
  const number = count(planned(state)),
    {dry} = state;
  const sure =
    !dry.may_double ||
    (await confirmed(
      `Replay ${number}?`,
      `Replay ${number}`,
      h(
        "p",
        {},
        h("strong", {}, `${count(dry.may_double)} of them may double: `),
        "an attempt may have been accepted, and the recipient then gets it twice.",
      ),
    ));
  if (sure) await begin(state, Run);
}

async function arrived(state) {
  const number = count(planned(state));
  const sure = await confirmed(
    `Mark ${number} as arrived?`,
    `Yes, ${number} arrived`,
    h("p", {}, "They become sent, by your word: the timelines say “operator”. They will not be sent again."),
  );
  if (sure) await begin(state, Arrivals);
}

async function begin(state, Kind) {
  const {filters, rate, expires, dry} = state;
  if (state.run) return;
  const run = new Kind({filters, rate, expires, total: planned(state), newest: dry.newest});
  state.run = run;
  state.paint();
  await tried(state, () => run.begin(state.paint));
  if (!state.fault) say(Kind === Run ? `${many(run.ids.length, "notification")} on the way.` : `${count(run.ids.length)} decided.`);
  state.again();
}

async function followed(state) {
  const {run, signal} = state;
  if (run?.phase !== "follow") return;
  await run.follow(signal);
  if (run.phase === "over") say(ending(run));
  state.paint();
}
