// Remembers the state of each entry of this tab's history: typed text, loaded rows, scroll position.
// It is kept in memory only: recipients are personal data, and a browser stores addresses and history states on disk.

const MAX_ENTRIES = 50;
const entries = new Map();

history.scrollRestoration = "manual"; // the rows arrive after the browser would scroll

/** The state of the open entry; {} for a new one. */
export function currentEntry() {
  const known = entries.get(history.state?.entry);
  if (known) return known;
  const id = Math.random().toString(36).slice(2);
  history.replaceState({entry: id}, "");
  entries.set(id, {});
  if (entries.size > MAX_ENTRIES) entries.delete(entries.keys().next().value);
  return entries.get(id);
}

/** Change the address of the open entry without adding an entry. */
export const replaceAddress = address => history.replaceState(history.state, "", address);

/** On sign-out: the next user of this tab sees none of it. */
export const forgetEntries = () => entries.clear();
