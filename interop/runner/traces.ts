/** Where the participants of a traced attempt leave qlog files and TLS secrets, and what they have left there. */
import { chmod, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** NSS format; what Wireshark calls "(Pre)-Master-Secret log filename". */
const KEY_LOG = 'tls-keys.log';
/** Files of one side that are looked at. */
const MAX_FILES = 64;

/** The folder for the traces of the side that logs to `log`; made, and open to the user of a container. */
export const traceFolder = async (log: string): Promise<string> => {
  const folder = foldersOf(log);
  await mkdir(folder, { recursive: true });
  await chmod(folder, 0o777);
  return folder;
};

const foldersOf = (log: string): string => log.replace(/\.log$/, '.traces');

/** The variables that QUIC programs have for it; go-libp2p, quiche's tools and browsers read them, too. */
export const traceVariables = (folder: string): Record<string, string> => ({
  QLOGDIR: folder,
  SSLKEYLOGFILE: join(folder, KEY_LOG),
});

/** Paths of what the side that logs to `log` has left. */
export const tracesOf = async (log: string): Promise<string[]> => {
  const folder = foldersOf(log);
  const names = await readdir(folder).catch(() => []);
  return names
    .sort()
    .slice(0, MAX_FILES)
    .map((name) => join(folder, name));
};

export const isQlog = (path: string): boolean => /\.s?qlog$/.test(path);
