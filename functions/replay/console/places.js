// What each entry of this tab's history was like when it was left: what was typed, its rows, where it was scrolled to.
// It is kept in memory alone, because a recipient is personal and a browser keeps addresses and states on disk.

const MOST = 50; // entries
const kept = new Map();

history.scrollRestoration = "manual"; // the rows come later than the browser would scroll

/** What is kept of the entry that is open; {} of a new one. */
export function place() {
  const known = kept.get(history.state?.place);
  if (known) return known;
  const id = Math.random().toString(36).slice(2);
  history.replaceState({place: id}, "");
  kept.set(id, {});
  if (kept.size > MOST) kept.delete(kept.keys().next().value);
  return kept.get(id);
}

/** Another address for the entry that is open, which stays the same entry. */
export const readdress = address => history.replaceState(history.state, "", address);

/** The next person who signs in gets none of it. */
export const forgetPlaces = () => kept.clear();
