// SPDX-License-Identifier: Apache-2.0 OR MIT
// Starts `attnc lsp` and connects the editor to it; everything else is the server's.
"use strict";

const { commands, window, workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function start() {
  const command = workspace.getConfiguration("attnc").get("path") || "attnc";
  client = new LanguageClient(
    "attnc",
    "attnc",
    { command, args: ["lsp"] },
    {
      documentSelector: [{ language: "attn" }],
      synchronize: { fileEvents: workspace.createFileSystemWatcher("**/*.attn") },
    },
  );
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    window.showErrorMessage(`attnc: cannot start \`${command} lsp\` (${error}); set "attnc.path" to the command.`);
  }
}

async function stop() {
  const running = client;
  client = undefined;
  await running?.stop();
}

async function restart() {
  await stop();
  await start();
}

exports.activate = async (context) => {
  context.subscriptions.push(
    commands.registerCommand("attnc.restart", restart),
    workspace.onDidChangeConfiguration((e) => e.affectsConfiguration("attnc.path") && restart()),
  );
  await start();
};

exports.deactivate = stop;
