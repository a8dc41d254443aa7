// The replay panel: a dry run, a confirmation, then the progress. Unknown notifications can also be marked as arrived.

import * as api from "./api.js";
import {announce, confirm, expiryField, field, h, render, setError} from "./dom.js";
import {rows} from "./listing.js";
import {ArrivalRun, MAX_REPLAY, ReplayRun} from "./replay-run.js";
import {chip, count, many, utc, zone} from "./format.js";

const SAMPLE = 5; // rows shown

export function replayPanel({filters: chosen, signal, again}) {
  // The status is always named: unknown notifications may be sent twice, so they are replayed only if asked for.
  const filters = {...chosen, status: chosen.status || "failed"};
  const limit = h("input", {
    id: "limit",
    type: "number",
    min: "1",
    max: `${MAX_REPLAY}`,
    value: "1000",
    inputmode: "numeric",
    required: true,
  });
  const rate = h("input", {id: "rate", type: "number", min: "1", max: `${MAX_REPLAY}`, inputmode: "numeric"});
  const until = expiryField("expires");
  const outcome = h("div", {class: "outcome"});
  const form = h(
    "form",
    {novalidate: true},
    field("At most", limit, "notifications, oldest first"),
    field("Per second", rate, "empty: as fast as possible"),
    field("Expires at", until.control, `new expiry time for expired notifications, in ${zone()}; empty: skip them`),
    h("div", {class: "buttons"}, h("button", {class: "primary"}, "Dry run")),
  );
  const panel = h(
    "section",
    {class: "card replay", "aria-labelledby": "replay"},
    h("h2", {id: "replay"}, "Replay"),
    h("p", {class: "hint"}, "A dry run counts and changes nothing. You confirm after it."),
    !chosen.status &&
      h(
        "p",
        {class: "hint"},
        "Only failed notifications are replayed here. ",
        h("a", {href: `#/dead/group${api.queryString({...chosen, status: "unknown"})}`}, "Decide about the unknown ones"),
      ),
    form,
    outcome,
  );
  const state = {filters, signal, again, paint: () => render(outcome, view(state))};
  const dryRun = async event => {
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
    await attempt(state, async () => {
      const {limit: most, expires: expires_at} = state;
      state.dry = await api.post("dead-letters/replay", {...filters, dry_run: true, limit: most, expires_at}, {signal});
    });
    if (state.dry) announce(summary(state).filter(Boolean).join(" "));
  };
  form.onsubmit = dryRun;
  // A changed input makes the dry run's count wrong.
  form.oninput = () => {
    if (state.run) return;
    state.dry = null;
    state.paint();
  };
  return {panel, refresh: () => follow(state)};
}

function valid(input) {
  const fine = input.validity.valid;
  setError(input, fine ? "" : `Enter a whole number from 1 to ${count(MAX_REPLAY)}.`);
  if (!fine) input.focus();
  return fine;
}

async function attempt(state, act) {
  try {
    await act();
  } catch (error) {
    if (state.signal.aborted) return;
    state.fault = error.message;
    announce(error.message);
  }
  state.paint();
}

// --- view ----------------------------------------------------------------------------------------------------

const planned = ({dry, limit}) => Math.min(dry.count, limit);

function summary(state) {
  const {dry, rate} = state,
    number = planned(state);
  if (!number) return ["Nothing would be replayed.", "", ...leftOut(dry)];
  const rest = dry.count > number ? ` of ${count(dry.count)}` : "";
  return [
    `${many(number, "notification")}${rest} would be replayed${rate ? `, ${count(rate)} per second: within ${count(Math.ceil(number / rate))} s` : ""}.`,
    dry.may_double
      ? `${count(dry.may_double)} of them may be sent twice: an attempt may have been accepted.`
      : "None of them can be sent twice: no attempt was accepted.",
    ...leftOut(dry),
  ];
}

const leftOut = ({expired, unknown}) => [
  ...(expired ? [`${count(expired)} more have expired and are left out: they need a new expiry time.`] : []),
  ...(unknown ? [`${count(unknown)} more are unknown and are left out: they may have arrived.`] : []),
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
    [first, second, ...rest] = summary(state);
  return h(
    "div",
    {key: "plan", class: "plan"},
    h("p", {class: "big"}, first),
    second && h("p", {class: dry.may_double ? "may-double" : "safe"}, second),
    rest.map(line => h("p", {key: line, class: "hint"}, line)),
    number > 0 &&
      h(
        "div",
        {class: "buttons"},
        h("button", {type: "button", class: "primary", onclick: () => replay(state)}, `Replay ${count(number)} now`),
        state.filters.status === "unknown" &&
          h("button", {type: "button", onclick: () => markArrived(state)}, `Mark ${count(number)} as arrived`),
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
  collect: "Collecting their IDs …",
  replay: "Setting their status to pending …",
  decide: "Marking them as sent …",
  follow: "Delivering. You may leave this page.",
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
      h("p", {class: "doubt"}, `${count(run.doubtful)} of those not sent may have been sent: an attempt may have been accepted.`),
    notes(run).map(text => h("p", {key: text, class: "hint"}, text)),
    late > 0 && h("p", {class: "hint"}, `${count(late)} are not queued yet: the sweep queues them when they are due.`),
    ["replay", "decide"].includes(run.phase) && h("div", {class: "buttons"}, stopButton(run)),
  );
}

function stopButton(run) {
  const stop = () => {
    run.stopped = true;
  };
  return h("button", {type: "button", onclick: stop}, run.phase === "decide" ? "Stop" : "Stop after this batch");
}

/** Results that the counts do not show. */
const notes = ({expired, lost}) => [
  ...(expired ? [`${count(expired)} expired and were left out.`] : []),
  ...(lost ? ["A request got no answer: what it did is not known. A dry run shows what is left."] : []),
];

function ending({ids, statuses, lost, expired, isUntouched}) {
  if (!ids.length && lost) return "It is not known what was changed.";
  if (!ids.length && (expired || isUntouched)) return "Nothing was changed.";
  if (!ids.length) return "Nothing was changed: they are no longer dead letters.";
  return `Settled: ${largestFirst(statuses)
    .map(([status, number]) => `${count(number)} ${status}`)
    .join(", ")}.`;
}

const largestFirst = statuses => Object.entries(statuses).sort(([, one], [, other]) => other - one);

// --- actions ----------------------------------------------------------------------------------------------------

async function replay(state) {
  const number = count(planned(state)),
    {dry} = state;
  const sure =
    !dry.may_double ||
    (await confirm(
      {title: `Replay ${number}?`, action: `Replay ${number}`},
      h(
        "p",
        {},
        h("strong", {}, `${count(dry.may_double)} of them may be sent twice: `),
        "an attempt may have been accepted.",
      ),
    ));
  if (sure) await begin(state, ReplayRun);
}

async function markArrived(state) {
  const number = count(planned(state));
  const sure = await confirm(
    {title: `Mark ${number} as arrived?`, action: `Yes, ${number} arrived`},
    h("p", {}, "Their status becomes sent, and their timelines name the operator. They will not be sent again."),
  );
  if (sure) await begin(state, ArrivalRun);
}

async function begin(state, Kind) {
  const {filters, rate, expires, dry} = state;
  if (state.run) return;
  const run = new Kind({filters, rate, expires, total: planned(state), newest: dry.newest});
  state.run = run;
  state.paint();
  await attempt(state, () => run.begin(state.paint));
  if (!state.fault) announce(Kind === ReplayRun ? `${many(run.ids.length, "notification")} set to pending.` : `${count(run.ids.length)} decided.`);
  state.again();
}

async function follow(state) {
  const {run, signal} = state;
  if (run?.phase !== "follow") return;
  await run.follow(signal);
  if (run.phase === "over") announce(ending(run));
  state.paint();
}
