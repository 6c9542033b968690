// The stream of a coordinator, and what is done when it is lost: the page asks again until a coordinator answers.

// Pauses in milliseconds; each failure lengthens the pause.
const FIRST = 500;
const LONGEST = 5000;
const AFTER_END = 15000;
// A coordinator says something every ten seconds at least.
const SILENCE = 15000;
// Browsers open six connections to a server at most, in all tabs together: one that nobody looks at gives its own away.
const UNSEEN = 20000;

// Calls `told.on(kind, data)` for each message, and `told.link(state)` when the connection changes:
// connecting, live, lost, resting, evicted, ended.
export class Live {
  constructor(told) {
    this.told = told;
    this.pause = FIRST;
    this.ended = false;
    this.state = "";
    document.addEventListener("visibilitychange", () => this.look());
    this.open();
  }

  // The page is hidden, or seen again.
  look() {
    clearTimeout(this.unseen);
    if (document.hidden) {
      this.unseen = setTimeout(() => {
        this.close();
        this.link("resting");
      }, UNSEEN);
    } else if (["resting", "evicted"].includes(this.state)) this.open();
  }

  open() {
    this.link(this.state === "" ? "connecting" : this.state);
    this.source = new EventSource("/dashboard/events");
    for (const kind of ["hello", "status", "metrics", "events", "evicted"]) {
      this.source.addEventListener(kind, (message) => this.hear(kind, JSON.parse(message.data)));
    }
    this.source.onerror = () => this.lose();
    this.watch();
  }

  // From now on silence means that the connection is lost, whatever the browser takes it for.
  watch() {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.lose(), SILENCE);
  }

  hear(kind, data) {
    if (kind === "evicted") {
      this.close();
      this.link("evicted");
      return;
    }
    this.pause = FIRST;
    this.link("live");
    if (kind === "status") this.ended = ["finished", "failed", "stopped"].includes(data.state);
    this.watch();
    this.told.on(kind, data);
  }

  // The browser would try again by itself, but not after every kind of failure, and it does not say when.
  lose() {
    this.close();
    this.link(this.ended ? "ended" : "lost");
    this.again = setTimeout(() => this.open(), this.pause);
    this.pause = Math.min(this.pause * 1.6, this.ended ? AFTER_END : LONGEST);
  }

  close() {
    clearTimeout(this.watchdog);
    clearTimeout(this.again);
    this.source.close();
  }

  link(state) {
    if (state !== this.state) {
      this.state = state;
      this.told.link(state);
    }
  }
}
