/** What the processes of the main job tell their parent. */
export interface Told {
  line: string;
}

/**
 * Tells the parent one line and waits until it has been printed. So a line is printed before anything that
 * it caused, in whichever process that happens.
 */
export function tell(line: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.once('message', () => resolve());
    if (!process.send) return reject(new Error('this runs as a child of main.js'));
    process.send({ line } satisfies Told);
  });
}
