/** What the control stream says of this side. */
export const LIBRARY = 'nestjs-drpc';
/** The version in package.json; a test compares them. */
export const VERSION = '0.1.0';
