// drive.py's twin for Node: calls an example's `pay` for each line it is given, and tells what came of it.
const path = require("node:path");
const readline = require("node:readline");

const example = require(path.resolve(process.argv[2]));
const say = (document) => process.stdout.write(JSON.stringify(document) + "\n");

function kindsOf(error) {
  const kinds = [];
  for (let kind = error.constructor; kind && kind.name; kind = Object.getPrototypeOf(kind)) kinds.push(kind.name);
  return kinds;
}

async function main() {
  say({ ready: process.argv[2] });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { reference, key } = JSON.parse(line);
    try {
      say({ value: await example.pay(reference, key), kinds: [], text: "" });
    } catch (error) {
      const facts = Object.fromEntries(Object.getOwnPropertyNames(error).map((name) => [name, String(error[name])]));
      say({ value: null, kinds: kindsOf(error), text: `${error} ${JSON.stringify(facts)}` });
    }
  }
}

main();
