// The chat page in a browser, as one who talks with a model uses it. Needs Node 20 and Chromium:
//
//     cp -r tests/page SCRATCH && cd SCRATCH && npm install      # playwright-core, outside the repository
//     sensorium serve &                                          # with a model that takes pictures and sounds
//     node page.mjs http://127.0.0.1:8080 SCREENSHOTS
//
// Prints each thing that it checked, writes screenshots of both looks and of a phone's width into the directory,
// and ends with 1 if anything failed. CHROMIUM names another browser than /usr/bin/chromium.

import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const [base, shots] = process.argv.slice(2);
if (!base || !shots) {
  console.error("usage: node page.mjs BASE-URL SCREENSHOT-DIRECTORY");
  process.exit(2);
}
mkdirSync(shots, { recursive: true });
const origin = new URL(base).origin;
const ANSWER = 120_000;

const flags = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run --use-fake-ui-for-media-stream --use-fake-device-for-media-stream";
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags.split(" ") });
const page = await browser.newPage({ viewport: { width: 1100, height: 760 }, colorScheme: "light" });
page.setDefaultTimeout(10_000);

let failures = 0;
const complaints = [];
const strangers = [];
page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(error.message));
page.on("request", (request) => {
  const url = new URL(request.url());
  if (!["data:", "blob:"].includes(url.protocol) && url.origin !== origin) strangers.push(request.url());
});

function expect(holds, what, got) {
  if (!holds) throw new Error(got === undefined ? what : `${what}, got ${JSON.stringify(got)}`);
}

/** One thing that is checked; what fails is told, and the next one begins from a page loaded anew. */
async function check(name, act) {
  try {
    await act();
    expect(!complaints.length, "no errors in the console", complaints);
    console.log(`ok    ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL  ${name}: ${error.message.split("\n").slice(0, 4).join(" | ")}`);
    await page.screenshot({ path: `${shots}/failed-${failures}.png` });
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await page.goto(base);
  }
  complaints.length = 0;
}

/** Something waited for while other steps go on, which may fail before it comes. */
function soon(promise) {
  promise.catch(() => {});
  return promise;
}

const shot = (name) => page.screenshot({ path: `${shots}/${name}.png` });
const answers = page.locator("article.answer");
const idle = () => page.waitForSelector("#send", { state: "visible", timeout: ANSWER });

/** Waits for the answer to what was just sent; its text. */
async function answered() {
  await page.waitForSelector("article:last-child.answer.done, article:last-child.answer.failed", { timeout: ANSWER });
  await idle();
  const failed = page.locator("article:last-child .failure");
  if (await failed.count()) throw new Error(`the page says: ${await failed.innerText()}`);
  return page.locator("article:last-child .text").innerText();
}

async function say(text) {
  await page.fill("#box", text);
  await page.press("#box", "Enter");
  return answered();
}

async function begin() {
  await page.click("#new");
  await page.waitForSelector("#start .example");
}

/** A picture of a red disk, drawn by the browser. */
async function redDisk() {
  const url = await page.evaluate(() => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 128;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, 128, 128);
    pen.fillStyle = "red";
    pen.arc(64, 64, 36, 0, 7);
    pen.fill();
    return canvas.toDataURL("image/png");
  });
  return { name: "disk.png", mimeType: "image/png", buffer: Buffer.from(url.split(",")[1], "base64") };
}

const list = await (await fetch(`${origin}/v1/models`)).json();
const models = list.data.filter((model) => model.capabilities?.includes("chat"));
const can = (what) => list.data.some((model) => model.capabilities?.includes(what));
const taker = (kind) => models.find((model) => model.architecture.input_modalities.includes(kind));
const skip = (name, why) => console.log(`skip  ${name}: ${why}`);

/** Chooses a model in the picker. */
async function choose(id) {
  await page.click("#model");
  await page.click(`#models label.model:has(input[value="${id}"])`);
  await page.waitForSelector("#models", { state: "hidden" });
  expect((await page.innerText("#model")).includes(id), `${id} chosen`, await page.innerText("#model"));
}

await check("loads, offers examples and a model, and asks no other origin", async () => {
  await page.goto(base);
  const count = await page.locator("#start .example").first().waitFor().then(() => page.locator("#start .example").count());
  expect(count >= 1 && count <= 4, "one to four examples", count);
  expect(await page.innerText("#model"), "a model is chosen");
  expect(!strangers.length, "no request to another origin", strangers);
  await shot("light-start");
});

await check("answers what is typed, with tokens and seconds", async () => {
  const text = await say("what colour is the sky?");
  expect(text.trim(), "an answer in words", text);
  const figures = await page.innerText("article:last-child .figures");
  expect(/\d+ tokens?/.test(figures) && / s\b/.test(figures), "tokens and seconds", figures);
  expect((await page.textContent("#spoken")).includes(text.trim().split(/\s/)[0]), "the answer is announced");
});

if (taker("image")) {
  await check("a picture is attached and asked about", async () => {
    await begin();
    await choose(taker("image").id);
    await page.setInputFiles("#files", await redDisk());
    await page.waitForSelector("#attachments .attachment.image img");
    const sent = soon(page.waitForRequest("**/v1/chat/completions"));
    const text = await say("what colour is the circle?");
    const part = (await sent).postDataJSON().messages.at(-1).content[0];
    expect(part.image_url?.url.startsWith("data:image/png;base64,"), "the picture is sent", part.type);
    expect(text.trim(), "an answer", text);
    if (taker("image").id === "nano") expect(/red/i.test(text), "nano sees red", text);
    await shot("light-picture");
  });
} else skip("a picture is attached", "no model takes pictures");

if (taker("table")) {
  await check("a table is shown as a grid before it is sent", async () => {
    await begin();
    await choose(taker("table").id);
    const buffer = Buffer.from('colour,shape,size\nred,circle,"large, or so"\nblue,star,small\n');
    await page.setInputFiles("#files", { name: "things.csv", mimeType: "text/csv", buffer });
    await page.waitForSelector("#attachments td");
    const cells = await page.locator("#attachments td").allInnerTexts();
    expect(cells[2] === "large, or so" && cells.length === 6, "six cells", cells);
    await say("what shape is the blue thing?");
  });
} else skip("a table is shown", "no model takes tables");

if (taker("audio")) {
  await check("the microphone is recorded, played and attached", async () => {
    await begin();
    await choose(taker("audio").id);
    await page.click("#microphone");
    await page.waitForSelector("#recorder .waves path");
    await page.waitForTimeout(1500);
    await page.click("#recorder button:text-is('Attach')");
    await page.waitForSelector("#attachments .sound .waves path");
    await page.click("#attachments .sound button");
    await page.waitForSelector("#attachments .sound button[aria-label^=Pause]");
    const sent = soon(page.waitForRequest("**/v1/chat/completions"));
    const text = await say("what do you hear?");
    const part = (await sent).postDataJSON().messages.at(-1).content[0];
    expect(part.input_audio?.format === "webm" && part.input_audio.data.length > 1000, "a WebM sound is sent", part.input_audio?.format);
    expect(text.trim(), "an answer", text);
  });
} else skip("the microphone is recorded", "no model takes sounds");

if (can("transcribe")) {
  await check("dictation writes into the box", async () => {
    await begin();
    await page.click("#microphone");
    await page.waitForTimeout(1000);
    const written = soon(page.waitForResponse("**/v1/audio/transcriptions", { timeout: ANSWER }));
    await page.click("#recorder button:text-is('Dictate')");
    const { text } = await (await written).json();
    await page.waitForFunction((words) => document.getElementById("box").value === words, text.trim());
    await page.fill("#box", "");
  });
} else skip("dictation", "no model transcribes");

if (can("speak")) {
  await check("an answer is spoken", async () => {
    await begin();
    await say("what colour is the sky?");
    await page.click("article:last-child [aria-label='Speak this answer']");
    await page.waitForSelector("article:last-child .sound .waves path", { timeout: ANSWER });
    await page.waitForSelector("article:last-child .sound button[aria-label^=Pause]");
  });
} else skip("an answer is spoken", "no model speaks");

await check("Escape stops an answer", async () => {
  await begin();
  // The request is held back, so that there is time to stop however fast the model is.
  await page.route("**/v1/chat/completions", async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await route.continue().catch(() => {});
  });
  await page.fill("#box", "tell me something long");
  await page.press("#box", "Enter");
  await page.waitForSelector("#stop", { state: "visible" });
  await page.waitForSelector("article.answer.running .waiting");
  const failed = soon(page.waitForEvent("requestfailed"));
  await page.keyboard.press("Escape");
  await page.waitForSelector("article.answer.stopped");
  expect((await failed).url().endsWith("/v1/chat/completions"), "the request is aborted");
  await idle();
  await page.unrouteAll({ behavior: "wait" });
  await page.click("article:last-child [data-again]");
  await answered();
});

await check("another answer, an edited message, and the way back between the branches", async () => {
  await begin();
  await say("what colour is the sky?");
  await page.click("article:last-child [data-again]");
  await answered();
  expect((await page.innerText("article:last-child .branches")).includes("2/2"), "a second answer");
  await page.press("#box", "ArrowUp");
  await page.fill(".editing textarea", "what colour is the grass?");
  await page.press(".editing textarea", "Enter");
  await answered();
  const question = page.locator("article.question");
  expect((await question.innerText()).includes("grass"), "the edited message is shown");
  await question.locator("[data-turn=left]").click();
  expect((await question.innerText()).includes("sky"), "the first branch is shown", await question.innerText());
  expect((await page.innerText("article:last-child .branches")).includes("2/2"), "its second answer is shown");
  expect((await page.evaluate(() => document.activeElement.dataset.turn)) === "left", "the focus stays");
});

await check("a reload keeps conversations; they are found, renamed, deleted and brought back", async () => {
  const before = await page.locator("#thread").innerText();
  const kept = await page.locator("#conversations li").count();
  await page.reload();
  await page.waitForSelector("article.answer");
  expect((await page.locator("#thread").innerText()) === before, "the same messages");
  expect((await page.locator("#conversations li").count()) === kept, "as many conversations");
  const row = page.locator("#conversations li:has([aria-current])");
  await row.hover();
  await row.locator("[aria-label^=Rename]").click();
  await page.fill("#conversations input", "Of sky and grass");
  await page.press("#conversations input", "Enter");
  await page.keyboard.press("Control+k");
  await page.keyboard.type("sky and");
  await page.waitForFunction(() => document.querySelectorAll("#conversations li").length === 1);
  await row.hover();
  await row.locator("[aria-label^=Delete]").click();
  await page.waitForSelector("#start .example");
  await page.click("#toasts button");
  await page.waitForSelector("article.answer");
  await page.fill("#search", "");
});

await check("a conversation is exported as JSON and as Markdown", async () => {
  for (const [id, holds] of [["export-json", '"messages": ['], ["export-markdown", "# Of sky and grass"]]) {
    await page.click("#export");
    const download = soon(page.waitForEvent("download"));
    await page.click(`#${id}`);
    const stream = await (await download).createReadStream();
    const text = Buffer.concat(await stream.toArray()).toString();
    expect(text.includes(holds), `${holds} in ${id}`, text.slice(0, 80));
  }
});

await check("the picker and the box warn of what a model cannot take", async () => {
  const words = { id: "words-only", object: "model", architecture: { input_modalities: ["text"], output_modalities: ["text"] }, capabilities: ["chat"] };
  const sees = { ...words, id: "sees", architecture: { input_modalities: ["text", "image"], output_modalities: ["text"] } };
  await page.route("**/v1/models", (route) => route.fulfill({ json: { object: "list", data: [sees, words, { id: "unopened", object: "model" }] } }));
  await page.reload();
  await begin();
  await choose("sees");
  await page.setInputFiles("#files", await redDisk());
  await page.waitForSelector("#attachments .attachment.image");
  await page.click("#model");
  expect((await page.innerText("#models label:has([value=unopened])")).includes("known once"), "a model that was not opened is offered");
  expect((await page.innerText("#models label.off")).includes("Cannot take the pictures"), "the picker warns");
  await shot("light-picker");
  await page.keyboard.press("Escape");
  await choose("words-only");
  expect((await page.innerText("#warning")).includes("cannot take the pictures"), "the box warns", await page.innerText("#warning"));
  expect((await page.getAttribute("#camera", "aria-disabled")) === "true", "the camera is grey");
  await page.fill("#box", "what is it?");
  await page.press("#box", "Enter");
  expect(!(await page.locator("article").count()), "nothing is sent");
  await shot("light-warning");
  await page.click("#warning button");
  expect((await page.innerText("#model")).includes("sees"), "the other model is chosen");
  expect(!(await page.innerText("#warning")), "no warning is left");
  await page.unrouteAll();
  await page.reload();
});

await check("failures are told in plain words, and tried again", async () => {
  await begin();
  const fails = [
    [{ status: 429, headers: { "Retry-After": "1" }, json: { error: { message: "busy" } } }, "The server is busy"],
    [{ status: 500, json: { error: { message: "the file is broken" } } }, "The server failed to answer"],
    [{ status: 401, json: { error: { message: "no key" } } }, "asks for an API key"],
  ];
  await page.fill("#box", "hello");
  for (const [n, [response, words]] of fails.entries()) {
    await page.route("**/v1/chat/completions", (route) => route.fulfill(response));
    if (n === 0) await page.press("#box", "Enter");
    else await page.click(".failure .again:enabled");
    await page.waitForSelector(`.failure:has-text("${words}")`);
    await idle();
    await page.unrouteAll();
  }
  const sent = soon(page.waitForRequest("**/v1/chat/completions"));
  await page.fill(".failure input", "a-key");
  await page.press(".failure input", "Enter");
  expect((await (await sent).allHeaders()).authorization === "Bearer a-key", "the key is sent");
  await answered();
  expect((await answers.count()) === 1 && !(await page.locator(".branches").count()), "the failures have given way");
  await page.evaluate(() => localStorage.removeItem("sensorium.key"));
  await page.context().setOffline(true);
  await page.fill("#box", "are you there?");
  await page.press("#box", "Enter");
  await page.waitForSelector('.failure:has-text("cannot be reached")');
  await page.context().setOffline(false);
  await page.click(".failure .again");
  await answered();
  // The browser itself writes a line for each response that fails.
  complaints.splice(0, complaints.length, ...complaints.filter((line) => !line.startsWith("Failed to load resource")));
});

await check("what a model writes is never taken for HTML", async () => {
  await begin();
  const text = '<img src="https://example.org/x.png" onerror="document.title=1"> **bold** `<b>`\\n\\n- one\\n- two';
  const chunk = `{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"${text.replaceAll('"', '\\"')}"},"finish_reason":"stop"}]}`;
  await page.route("**/v1/chat/completions", (route) => route.fulfill({ contentType: "text/event-stream", body: `: ping\n\ndata: ${chunk}\n\ndata: [DONE]\n\n` }));
  await say("hello");
  await page.unrouteAll();
  const body = page.locator("article:last-child .text");
  expect(!(await body.locator("img").count()), "no image out of text");
  expect((await body.locator("strong").innerText()) === "bold" && (await body.locator("code").innerText()) === "<b>", "bold and code");
  expect((await body.locator("li").count()) === 2, "a list");
});

await check("settings are kept and sent", async () => {
  await page.click("#settings-open");
  await page.fill("[name=temperature]", "0.5");
  await page.fill("[name=seed]", "7");
  await page.fill("[name=system]", "Be brief.");
  await page.click("#settings .primary");
  await page.reload();
  await begin();
  const sent = soon(page.waitForRequest("**/v1/chat/completions"));
  await say("hello");
  const body = (await sent).postDataJSON();
  expect(body.temperature === 0.5 && body.seed === 7 && body.stream === true, "temperature and seed", body.temperature);
  expect(body.messages[0].role === "system" && body.messages[0].content === "Be brief.", "the system message", body.messages[0]);
  await page.click("#settings-open");
  await page.click("#settings-reset");
  await page.click("#settings .primary");
});

await check("light and dark, by the system and by hand, and 360 pixels wide", async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await ground();
  expect(light !== dark, "the system's look is followed", [light, dark]);
  await page.click("#settings-open");
  await page.click("#settings label:has-text('Light')");
  expect((await ground()) === light, "light by hand");
  await page.click("#settings label:has-text('As the system')");
  await shot("dark-settings");
  await page.keyboard.press("Escape");
  await page.locator("#conversations button").nth(3).click();
  await page.waitForSelector("article");
  await shot("dark-conversation");
  await page.setViewportSize({ width: 360, height: 740 });
  await page.waitForTimeout(300);
  const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= 360 && document.getElementById("main").scrollWidth <= 360);
  expect(await fits(), "a conversation fits 360 pixels");
  await shot("phone-dark-conversation");
  await page.click("#toggle-history");
  await page.waitForTimeout(300);
  await shot("phone-dark-history");
  await page.click("#new");
  await page.waitForTimeout(300);
  expect(await fits(), "the start fits 360 pixels");
  await page.emulateMedia({ colorScheme: "light" });
  await shot("phone-light-start");
});

await check("a first visit: how soon it can be used", async () => {
  const times = [];
  for (let visit = 0; visit < 7; visit += 1) {
    const context = await browser.newContext();
    const first = await context.newPage();
    await first.goto(base, { waitUntil: "commit" });
    // Examples stand there when the server has said what the model takes; a click on one is then an answer.
    await first.waitForSelector("#start .example");
    await first.focus("#box");
    await first.keyboard.type("a");
    expect((await first.inputValue("#box")) === "a", "what is typed stands in the box");
    times.push(await first.evaluate(() => performance.now()));
    await context.close();
  }
  times.sort((a, b) => a - b);
  console.log(`      usable after ${Math.round(times[3])} ms (median of ${times.length}, ${Math.round(times[0])} to ${Math.round(times.at(-1))})`);
});

await check("every button has a name, and no request has left the origin", async () => {
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, textarea, select, a[href]")]
      .filter((control) => !control.labels?.length && !control.getAttribute("aria-label") && !control.textContent.trim())
      .map((control) => control.outerHTML.slice(0, 80)),
  );
  expect(!nameless.length, "a name for each control", nameless);
  expect(!strangers.length, "no request to another origin", strangers);
});

await browser.close();
console.log(failures ? `${failures} failed` : "all passed");
process.exit(failures ? 1 : 0);
