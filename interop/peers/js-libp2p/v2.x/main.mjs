import { participate } from '../participant.mjs';

await participate(() => import('./stack.mjs'));
