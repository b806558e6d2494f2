/** A command line that can not be carried out; the message says why. */
export class UsageError extends Error {
  override name = 'UsageError';
}

export const USAGE = `Calls DRPC services from the command line.

  nestjs-drpc call <url> <rpc> [message]   calls an rpc and writes each answer as a line
  nestjs-drpc ping <url>                   tells whether a server answers, who it is, and how fast

<url> is drpc://host:port, drpcs://host:port (TLS) or drpc+unix:/path.
<rpc> is the pattern of a handler; one that is an object is written as JSON.
<message> is JSON, or - for all of the input; without one, an empty message is sent.

  -i, --stdin              takes the messages of a request stream from the input, one a line
  -m, --metadata key=value goes with the call; may be repeated
  -t, --timeout <ms>       how long the call may take
  -e, --encoding <name>    json (default) or bytes: messages as they are, answers one after the other
      --proto <file>       a .proto file with the service; <rpc> is package.Service/Method; may be repeated
      --import-path <dir>  where the imports of .proto files are; may be repeated
      --peer <name>        auto (default), storj, cockroach or cockroach-fc
      --preamble           begins the connection with DRPC!!!1
      --preamble-before-tls  the same in front of TLS
      --ca, --cert, --key <file>  for TLS: who is trusted, and who is calling, as PEM files
      --servername <name>  the name that the server's certificate has to have
  -h, --help
      --version

  nestjs-drpc call drpc://127.0.0.1:4000 sum '[1,2,3]'
  nestjs-drpc call drpc://127.0.0.1:4000 ticks | head -3
  seq 5 | nestjs-drpc call --stdin drpc://127.0.0.1:4000 total

Ends with 0 when the call went well, 1 when it failed, 2 when the command line is wrong, 130 after Ctrl-C.
`;
