// The broker's queues, and the retry schedule.

import {sum} from "./chart.js";
import {h} from "./dom.js";
import {count, many, name, span} from "./format.js";

const HEADS = ["Waiting", "High priority", "Consumers", "Dead-letter queue"];

export function queues(found, isAdmin) {
  if (!isAdmin)
    return h(
      "section",
      {key: "none", class: "card"},
      h("h2", {}, "Queues"),
      h("p", {class: "hint"}, "Queues hold the messages of all tenants. Showing them needs a key with the scope admin."),
    );
  const kind = wanted => found.queues.filter(queue => queue.kind === wanted);
  if (!found.queues.length)
    return h("section", {key: "none", class: "card"}, h("h2", {}, "Queues"), h("p", {}, "The broker does not answer."));
  const parked = sum(kind("parking").map(queue => queue.ready));
  return [
    h(
      "section",
      {key: "queues", class: "card", "aria-labelledby": "queues"},
      h("h2", {id: "queues"}, "Queues"),
      h(
        "div",
        {class: "scroll"},
        h(
          "table",
          {class: "plain", "aria-labelledby": "queues"},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", {scope: "col"}, "Channel"),
              HEADS.map(text => h("th", {scope: "col", class: "number"}, text)),
            ),
          ),
          h(
            "tbody",
            {},
            found.channels.map(one =>
              queueRow(
                one.channel,
                found.queues.filter(queue => queue.channel === one.channel),
              ),
            ),
          ),
        ),
      ),
      h(
        "p",
        {class: "hint"},
        parked ? `${many(parked, "message")} parked.` : "No messages are parked.",
      ),
    ),
    h(
      "section",
      {key: "schedule", class: "card", "aria-labelledby": "schedule"},
      h("h2", {id: "schedule"}, "Retry schedule"),
      h("p", {class: "hint"}, "Notifications wait here after a failed attempt. All channels share these queues."),
      h(
        "ol",
        {class: "schedule"},
        kind("retry").map(queue =>
          h(
            "li",
            {key: queue.queue, class: queue.ready ? "some" : ""},
            h("span", {}, span(queue.delay_seconds)),
            h("b", {}, count(queue.ready)),
          ),
        ),
      ),
    ),
  ];
}

function queueRow(channel, list) {
  const work = list.filter(queue => queue.kind === "work"),
    of = priority => work.filter(queue => queue.priority === priority);
  const ready = some => count(sum(some.map(queue => queue.ready)));
  const known = work.map(queue => queue.consumers).filter(Number.isInteger);
  const cell = text => h("td", {class: "number"}, text);
  return h(
    "tr",
    {key: channel},
    h("th", {scope: "row"}, name(channel)),
    cell(ready(of("normal"))),
    cell(ready(of("high"))),
    cell(known.length ? count(Math.min(...known)) : h("span", {title: "Not known for the embedded broker"}, "–")),
    cell(ready(list.filter(queue => queue.kind === "dead"))),
  );
}
