// The names of states and kicks, by the numbers they have in frames, and what they are to people.

export const STATES = ["outside", "waiting", "guest", "halted", "off", "paused"];
export const WORDS = {
  guest: "in the guest", outside: "outside, handled by avmm", waiting: "waiting for its slot",
  halted: "asleep until an interrupt", off: "powered off", paused: "paused",
};
export const KICKS = { ipi: "IPI", wakeup: "woken by a kick", nothing: "nothing to do", woken: "woken by a timer or an interrupt" };
export const ACTIONS = ["nothing", "wakeup", "ipi", "woken"];

export const who = (index) => (index < 0 ? "host" : `vCPU ${index}`);
