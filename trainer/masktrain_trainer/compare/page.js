"use strict";
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const [leader, follower] = document.querySelectorAll("video");
  const play = document.getElementById("play");
  const seek = document.getElementById("seek");
  const rate = document.getElementById("rate");
  const clock = document.getElementById("clock");
  const marks = [...document.querySelectorAll("line.now")];
  const frame = 1 / facts.rate;
  const length = () => leader.duration || facts.frames * frame;
  let wanted = false;

  const told = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

  function show() {
    const now = leader.currentTime;
    seek.value = String((1000 * now) / length());
    const text = `${told(now)} / ${told(length())}`;
    if (clock.value !== text) clock.value = text;
    const x = String((1000 * now) / (facts.frames * frame));
    for (const mark of marks) { mark.setAttribute("x1", x); mark.setAttribute("x2", x); }
  }

  // A jump is seen and a small change of speed is not, so only what is far off jumps.
  function keepInStep() {
    const drift = follower.currentTime - leader.currentTime;
    const speed = Number(rate.value);
    if (leader.paused || leader.seeking || follower.seeking) { follower.playbackRate = speed; return; }
    if (Math.abs(drift) > 0.3) { follower.currentTime = leader.currentTime; follower.playbackRate = speed; }
    else if (Math.abs(drift) > frame / 4) { follower.playbackRate = speed * (1 - Math.max(-0.2, Math.min(0.2, 2 * drift))); }
    else { follower.playbackRate = speed; }
  }

  function tick() {
    keepInStep();
    show();
    if (!leader.paused) requestAnimationFrame(tick);
  }

  function label() {
    play.textContent = wanted ? "Pause" : "Play";
  }

  async function start() {
    wanted = true;
    label();
    if (leader.ended || leader.currentTime >= length() - frame / 2) goTo(0);
    follower.currentTime = leader.currentTime;
    try { await Promise.all([leader.play(), follower.play()]); } catch { stop(); return; }
    requestAnimationFrame(tick);
  }

  function stop() {
    wanted = false;
    label();
    leader.pause();
    follower.pause();
    // Both on the very same frame, whatever was between them.
    follower.currentTime = leader.currentTime;
    show();
  }

  function goTo(seconds) {
    const target = Math.max(0, Math.min(seconds, length() - frame / 2));
    leader.currentTime = target;
    follower.currentTime = target;
    show();
  }

  // The middle of a frame, since its edge may show the one before.
  const toFrame = (index) => goTo((index + 0.5) * frame);
  const step = (frames) => { if (wanted) stop(); toFrame(Math.floor(leader.currentTime / frame + 1e-3) + frames); };

  play.addEventListener("click", () => (wanted ? stop() : start()));
  document.getElementById("back").addEventListener("click", () => step(-1));
  document.getElementById("forward").addEventListener("click", () => step(1));
  seek.addEventListener("input", () => goTo((Number(seek.value) / 1000) * length()));
  rate.addEventListener("change", () => { for (const video of [leader, follower]) video.playbackRate = Number(rate.value); });
  leader.addEventListener("ended", stop);
  for (const video of [leader, follower]) {
    video.addEventListener("click", () => (wanted ? stop() : start()));
    video.addEventListener("seeked", show);
    video.addEventListener("loadedmetadata", show);
  }
  for (const plot of document.querySelectorAll("svg.plot")) {
    plot.addEventListener("click", (event) => {
      const place = plot.getBoundingClientRect();
      toFrame(Math.floor(((event.clientX - place.left) / place.width) * facts.frames));
    });
  }
  for (const button of document.querySelectorAll("button[data-frame]")) {
    button.addEventListener("click", () => {
      if (wanted) stop();
      toFrame(Number(button.dataset.frame));
      document.getElementById("stage").scrollIntoView({ block: "nearest" });
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, button") || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { " ": () => (wanted ? stop() : start()), ArrowLeft: () => step(-1), ArrowRight: () => step(1) };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  show();
})();
