// The camera and the microphone.

import { $, clock, h, iconButton, toast } from "./dom.js";
import { drawn, toPng } from "./media.js";
import { wave } from "./players.js";

/** A stream of the camera or microphone; throws words for why there is none. */
async function stream(wanted, device) {
  if (!navigator.mediaDevices) {
    throw new Error(`Browsers give a page the ${device} only over https or on this machine itself (localhost).`);
  }
  try {
    return await navigator.mediaDevices.getUserMedia(wanted);
  } catch (error) {
    if (error.name === "NotFoundError") throw new Error(`No ${device} was found.`);
    if (error.name === "NotAllowedError") throw new Error(`The browser does not let this page use the ${device}. Its settings for this site can allow it.`);
    throw new Error(`The ${device} cannot be used: ${error.message}`);
  }
}

const stopped = (source) => source?.getTracks().forEach((track) => track.stop());

/** Shows the camera; resolves to a PNG of the moment that was taken, or null. */
export async function takePicture() {
  const dialog = $("camera-dialog");
  const video = dialog.querySelector("video");
  let facing = "environment";
  const start = async () => {
    stopped(video.srcObject);
    video.srcObject = await stream({ video: { facingMode: { ideal: facing } } }, "camera");
    await video.play();
  };
  await start();
  dialog.showModal();
  return new Promise((resolve) => {
    const end = (picture) => {
      stopped(video.srcObject);
      video.srcObject = null;
      dialog.onclick = dialog.onclose = null;
      dialog.close();
      resolve(picture);
    };
    dialog.onclose = () => end(null);
    dialog.onclick = async ({ target }) => {
      const what = target.closest("[data-do]")?.dataset.do;
      if (what === "cancel") end(null);
      if (what === "take") end(await toPng(drawn(video, video.videoWidth, video.videoHeight)));
      if (what === "turn") {
        facing = facing === "user" ? "environment" : "user";
        await start().catch((error) => toast(error.message));
      }
    };
  });
}

/**
 * Records the microphone with its waveform shown in `place`, until one of `choices` (their names) is taken or
 * Escape pressed; resolves to `{choice, blob}`, or null when it was cancelled.
 */
export async function record(place, choices) {
  const source = await stream({ audio: true }, "microphone");
  const type = ["audio/webm;codecs=opus", "audio/mp4", ""].find((known) => !known || MediaRecorder.isTypeSupported(known));
  const recorder = new MediaRecorder(source, type ? { mimeType: type } : {});
  const pieces = [];
  recorder.ondataavailable = ({ data }) => pieces.push(data);
  recorder.start();
  const stopDrawing = draw(source, place);

  const choice = await new Promise((resolve) => {
    const cancel = iconButton("close", "Cancel the recording", () => resolve(null));
    const buttons = choices.map((name, n) =>
      h("button", { type: "button", class: n ? "quiet" : "primary", onclick: () => resolve(name) }, name),
    );
    place.prepend(cancel);
    place.append(...buttons);
    place.hidden = false;
    buttons[0].focus();
    place.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      resolve(null);
    };
  });

  const ended = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.stop();
  await ended;
  stopped(source);
  stopDrawing();
  place.hidden = true;
  place.replaceChildren();
  return choice && { choice, blob: new Blob(pieces, { type: recorder.mimeType.split(";")[0] }) };
}

/** Draws how loud a stream is as time passes, with the seconds; returns how to end that. */
function draw(source, place) {
  const context = new AudioContext();
  const listener = context.createAnalyser();
  context.createMediaStreamSource(source).connect(listener);
  const samples = new Float32Array(listener.fftSize);
  const peaks = new Array(60).fill(0);
  const waves = h("div", { class: "waves" }, wave(peaks));
  const time = h("span", { class: "time" }, "0:00");
  place.append(h("span", { class: "recording", "aria-hidden": "true" }), waves, time);
  const began = performance.now();
  const timer = setInterval(() => {
    listener.getFloatTimeDomainData(samples);
    peaks.shift();
    peaks.push(Math.min(1, 2.5 * samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0)));
    waves.replaceChildren(wave(peaks));
    time.textContent = clock((performance.now() - began) / 1000);
  }, 80);
  return () => {
    clearInterval(timer);
    context.close();
  };
}
