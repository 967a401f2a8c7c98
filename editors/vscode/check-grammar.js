// SPDX-License-Identifier: Apache-2.0 OR MIT
// Tokenises files with the grammar as the editor does: every word must get a scope. Usage: node check-grammar.js FILE...
// Prints one line a token with --print.
"use strict";

const fs = require("fs");
const path = require("path");
const oniguruma = require("vscode-oniguruma");
const textmate = require("vscode-textmate");

async function main() {
  const wasm = fs.readFileSync(require.resolve("vscode-oniguruma/release/onig.wasm"));
  await oniguruma.loadWASM(wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.byteLength));
  const file = path.join(__dirname, "syntaxes", "attn.tmLanguage.json");
  const registry = new textmate.Registry({
    onigLib: Promise.resolve({
      createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
      createOnigString: (text) => new oniguruma.OnigString(text),
    }),
    loadGrammar: async () => textmate.parseRawGrammar(fs.readFileSync(file, "utf8"), file),
  });
  const grammar = await registry.loadGrammar("source.attn");
  const files = process.argv.slice(2).filter((word) => word !== "--print");
  const print = process.argv.includes("--print");
  let bare = 0;
  for (const name of files) {
    let state = textmate.INITIAL;
    for (const [number, line] of fs.readFileSync(name, "utf8").split(/\r?\n/).entries()) {
      const { tokens, ruleStack } = grammar.tokenizeLine(line, state);
      state = ruleStack;
      for (const token of tokens) {
        const text = line.slice(token.startIndex, token.endIndex);
        if (text.trim() === "") continue;
        const scope = token.scopes[token.scopes.length - 1];
        if (print) console.log(`${text.trim()}\t${scope}`);
        if (token.scopes.length === 1) {
          console.error(`${name}:${number + 1}: no scope for ${JSON.stringify(text)}`);
          bare += 1;
        }
      }
    }
  }
  console.log(`${files.length} files, ${bare} bare`);
  process.exit(bare === 0 ? 0 : 1);
}

main();
