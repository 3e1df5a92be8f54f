// What a test found. Where in this code it was asked helps nobody: the words name system, page, rule and element.
export class Finding extends Error {
  constructor(message) {
    super(message);
    this.stack = message;
  }
}

// A test fails with all that was found on a page.
export function none(found, where) {
  if (found.length > 0) throw new Finding(`${where}\n  ${found.join("\n  ")}`);
}
