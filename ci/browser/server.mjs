// Starts the program that is tested, says where it listens, and ends it.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Finding } from "./finding.mjs";

const START_MS = 60_000;
const TRAINED_MS = 600_000;
const TOLD_MOST = 20_000;

const binary = process.env.MILLSTREAM;
if (!binary) throw new Error("MILLSTREAM names the program to test; ci/browser.sh BINARY sets it");

// The catalogue's pictures lie on other hosts. Where the program can draw them instead, it shall: nothing here asks another host.
const schema = JSON.parse(readFileSync(new URL("../../docs/pipeline.schema.json", import.meta.url), "utf8"));
export const DRAWS_PICTURES = "images" in (schema.properties.serve.properties ?? {});

// What must be gone when this process ends, however it ends.
const endings = [];
process.on("exit", () => endings.forEach((end) => end()));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Asks until there is an answer that is neither null nor undefined nor false.
export async function until(what, ms, ask) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Finding(`${what}: not within ${ms / 1000} s`);
    await pause(100);
  }
}

// A folder for one system's data: below the one that `ci/browser.sh` was told, which is kept, or one that is removed at the end.
export function dataFolder(name) {
  const kept = process.env.BROWSER_DATA;
  if (kept) {
    const folder = join(kept, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }
  const folder = mkdtempSync(join(tmpdir(), `millstream-browser-${name}-`));
  endings.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

// `settings` are those of `--set`. Two servers never share a port: each takes a free one.
export async function start(args, settings = []) {
  const all = ["serve.listen=127.0.0.1:0", "stream.listen=127.0.0.1:0", ...(DRAWS_PICTURES ? ["serve.images=drawn"] : []), ...settings];
  const child = spawn(binary, [...args, ...all.flatMap((setting) => ["--set", setting])], { stdio: ["ignore", "pipe", "pipe"] });
  const server = { url: "", told: "", isOver: false };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => { server.told = (server.told + text).slice(-TOLD_MOST); });
  }
  const over = new Promise((resolve) => child.on("close", () => { server.isOver = true; resolve(); }));
  child.on("error", (error) => { server.told += error.message; server.isOver = true; });
  // Before its folder goes.
  endings.unshift(() => child.kill("SIGKILL"));
  const alive = () => {
    if (server.isOver) throw new Finding(`${args.join(" ")} ended by itself:\n${server.told}`);
  };
  server.stop = async (signal = "SIGTERM") => { child.kill(signal); await over; };
  server.trained = () => until(`${args.join(" ")} is trained`, TRAINED_MS, async () => {
    alive();
    const status = await (await fetch(`${server.url}/v1/status`)).json();
    if (status.state === "failed") throw new Finding(`${args.join(" ")} failed:\n${server.told}`);
    return status.state === "done";
  });
  try {
    server.url = await until(`${args.join(" ")} listens`, START_MS, () => {
      alive();
      return server.told.match(/the page and the API: (http:\/\/[0-9.:]+)/)?.[1];
    });
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
  return server;
}
