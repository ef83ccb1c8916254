/**
 * An echo between two processes: one listens, the other sends what it is given and prints what comes back.
 *
 *   node examples/echo.ts                           prints its address, ends after one connection
 *   node examples/echo.ts <multiaddr> some words
 */

import { createNode, tcp } from 'libp2p-lean';

const ECHO = '/echo/1.0.0';
const [address, ...words] = process.argv.slice(2);

await using node = await createNode({
  transports: [tcp({ secureChannels: ['noise'], muxers: ['yamux'] })],
});

if (address === undefined) {
  node.handle(ECHO, async (stream) => {
    for await (const chunk of stream) if (!stream.write(chunk)) await stream.drain();
    stream.closeWrite();
  });
  const over = new Promise((resolve) => node.addEventListener('connection:close', resolve));
  await node.listen('/ip4/127.0.0.1/tcp/0');
  console.log(String(node.addresses()[0]));
  await over;
} else {
  const connection = await node.dial(address);
  const stream = await connection.newStream(ECHO);
  stream.write(Buffer.from(words.join(' ')));
  stream.closeWrite();
  let answer = '';
  for await (const chunk of stream) answer += Buffer.from(chunk).toString();
  console.log(answer);
}
