// For `node --import`: a line on stderr for each module when it is loaded.
import { writeSync } from 'node:fs';
import { registerHooks } from 'node:module';

registerHooks({
  load: (url, context, nextLoad) => {
    writeSync(2, `loads ${url}\n`);
    return nextLoad(url, context);
  },
});
