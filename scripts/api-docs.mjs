// docs/api.md: what the package exports, with its docstrings, read from the declarations by API Extractor.
//
//   node scripts/api-docs.mjs [file]     writes it (`make docs`)
//   node scripts/api-docs.mjs --check [file]
//                                        exit code 1 if it does not match the sources
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import apiExtractor from '@microsoft/api-extractor';
import apiModel from '@microsoft/api-extractor-model';
import tsdoc from '@microsoft/tsdoc';
import { argumentsOf } from './arguments.mjs';

const { CompilerState, Extractor, ExtractorConfig } = apiExtractor;
const { ApiItemKind, ApiPackage } = apiModel;
const { DocNodeKind } = tsdoc;

const ROOT = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const { values, positionals } = argumentsOf(
  '[--check] [file]',
  { options: { check: { type: 'boolean', default: false } } },
  1,
);
const isCheck = values.check;
const file = path.resolve(positionals[0] ?? path.join(ROOT, 'docs/api.md'));
const { exports: subpaths } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));

/** `{ name: 'libp2p-lean/tls', types: 'exports/tls.d.ts' }`, the main entry first. */
const entries = Object.entries(subpaths)
  .filter(([, target]) => typeof target !== 'string')
  .map(([subpath, { types }]) => ({
    name: `libp2p-lean${subpath.slice(1)}`,
    types: types.replace('./dist/lib/', ''),
  }));

/** Writes the declarations of the current sources into `folder`. */
const declare = (folder) => {
  const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc');
  const flags = ['-p', 'scripts/tsconfig.build.json', '--emitDeclarationOnly', '--outDir', folder];
  const { status } = spawnSync(process.execPath, [tsc, ...flags], { cwd: ROOT, stdio: 'inherit' });
  // tsc has printed the errors.
  if (status !== 0) process.exit(1);
};

/** API Extractor's model of each entry. @throws Error when an export refers to a type that is not exported. */
const modelsOf = (folder) => {
  const configs = entries.map(({ types }) =>
    ExtractorConfig.prepare({
      configObject: {
        projectFolder: ROOT,
        mainEntryPointFilePath: path.join(folder, types),
        compiler: {
          overrideTsconfig: {
            compilerOptions: {
              target: 'es2023',
              lib: ['es2024', 'esnext.disposable'],
              module: 'nodenext',
              moduleResolution: 'nodenext',
              types: ['node'],
              strict: true,
              skipLibCheck: true,
            },
            files: entries.map((entry) => path.join(folder, entry.types)),
          },
        },
        apiReport: { enabled: false },
        dtsRollup: { enabled: false },
        tsdocMetadata: { enabled: false },
        docModel: { enabled: true, apiJsonFilePath: path.join(folder, `${types}.api.json`) },
      },
      configObjectFullPath: undefined,
      packageJsonFullPath: path.join(ROOT, 'package.json'),
    }),
  );
  const compilerState = CompilerState.create(configs[0], {
    additionalEntryPoints: configs.map((config) => config.mainEntryPointFilePath),
  });
  const forgotten = [];
  const models = configs.map((config) => {
    Extractor.invoke(config, {
      compilerState,
      localBuild: true,
      messageCallback: (message) => {
        message.handled = true;

        if (message.messageId === 'ae-forgotten-export') {
          forgotten.push(
            `${path.relative(folder, config.mainEntryPointFilePath)}: ${message.text}`,
          );
        }
      },
    });
    return ApiPackage.loadFromJsonFile(config.apiJsonFilePath);
  });
  if (forgotten.length > 0) throw new Error([...new Set(forgotten)].join('\n'));
  return models;
};

/** A docstring, or a part of one, as Markdown. */
const markdownOf = (node) => {
  if (node === undefined) return '';
  switch (node.kind) {
    case DocNodeKind.PlainText:
      return node.text;
    case DocNodeKind.SoftBreak:
      return '\n';
    case DocNodeKind.CodeSpan:
      return `\`${node.code}\``;
    case DocNodeKind.FencedCode:
      return `\n\`\`\`${node.language}\n${node.code}\`\`\`\n\n`;
    case DocNodeKind.EscapedText:
      return node.decodedText;
    case DocNodeKind.ErrorText:
      return node.text;
    case DocNodeKind.LinkTag: {
      const target = node.codeDestination?.memberReferences ?? [];
      const names = target.map(({ memberIdentifier }) => memberIdentifier?.identifier);
      return node.urlDestination ?? `\`${names.join('.')}\``;
    }
    case DocNodeKind.Paragraph:
      return `${childrenOf(node).trim()}\n\n`;
    default:
      return childrenOf(node);
  }
};
const childrenOf = (node) => node.getChildNodes().map(markdownOf).join('');

/** `Throws`, `Returns`: the headings for a docstring's tags. */
const TAGS = { '@throws': 'Throws', '@returns': 'Returns' };

/** All of a docstring. */
const documentationOf = ({ tsdocComment }) => {
  if (tsdocComment === undefined) return '';
  const { summarySection, remarksBlock, params, returnsBlock, customBlocks } = tsdocComment;
  const parts = [markdownOf(summarySection), markdownOf(remarksBlock?.content)];
  for (const { parameterName, content } of params.blocks) {
    parts.push(
      `- \`${parameterName}\`: ${markdownOf(content)
        .trim()
        .replace(/\s*\n\s*/g, ' ')}\n`,
    );
  }
  if (params.blocks.length > 0) parts.push('\n');
  for (const block of [returnsBlock, ...customBlocks]) {
    if (block === undefined) continue;
    const title = TAGS[block.blockTag.tagName] ?? block.blockTag.tagName;
    parts.push(`${title}: ${markdownOf(block.content).trim()}\n\n`);
  }
  return parts.join('').trim();
};

/** A docstring as a comment above a member. */
const commentOf = (item) => {
  const lines = documentationOf(item).split('\n');
  if (lines[0] === '') return [];
  if (lines.length === 1) return [`/** ${lines[0]} */`];
  return ['/**', ...lines.map((line) => ` * ${line}`.trimEnd()), ' */'];
};

const HAS_MEMBERS = [ApiItemKind.Interface, ApiItemKind.Class];

/** The declaration; interfaces and classes with their members and these members' docstrings. */
const declarationOf = (item) => {
  // Without its indentation in the file.
  const text = item.excerpt.text.replace(/^export (?:declare )?/, '').trim();
  if (!HAS_MEMBERS.includes(item.kind))
    return item.kind === ApiItemKind.Variable ? `const ${text}` : text;
  const members = item.members.flatMap((member) => [
    ...commentOf(member),
    ...member.excerpt.text
      .trim()
      .split('\n')
      .map((line) => line.replace(/^ {4}/, '')),
  ]);
  return [`${text} {`, ...members.map((line) => (line === '' ? '' : `  ${line}`)), '}'].join('\n');
};

/** GitHub's anchor of a heading. */
const anchorOf = (heading) =>
  heading
    .toLowerCase()
    .replace(/[^a-z0-9 _-]/g, '')
    .replaceAll(' ', '-');

const render = (models) => {
  /** From a declaration's text to its place in the document. */
  const written = new Map();
  const out = [
    '# The API',
    '',
    'Made from the docstrings by `make docs`. What each call of a `Stream` does in each state is a table in',
    '`src/stream.ts`.',
    '',
    ...entries.map(({ name }) => `- [\`${name}\`](#${anchorOf(name)})`),
    '',
  ];
  models.forEach((model, index) => {
    const { name } = entries[index];
    out.push(`## ${name}`, '');
    const elsewhere = [];
    for (const item of model.entryPoints[0].members) {
      const key = item.displayName;
      const declaration = declarationOf(item);
      if (written.get(key) === declaration) {
        elsewhere.push(`[\`${key}\`](#${anchorOf(key)})`);
        continue;
      }
      written.set(key, declaration);
      out.push(`### ${key}`, '', '```ts', declaration, '```', '');
      const documentation = documentationOf(item);
      if (documentation !== '') out.push(documentation, '');
    }
    if (elsewhere.length > 0) out.push(`Also here, and above: ${elsewhere.join(', ')}.`, '');
  });
  return `${out.join('\n').trimEnd()}\n`;
};

// Inside the checkout, so that the declarations of packages are found.
const folder = mkdtempSync(path.join(ROOT, '.api-'));
try {
  declare(folder);
  const text = render(modelsOf(folder));
  const name = path.relative(ROOT, file);
  if (!isCheck) {
    writeFileSync(file, text);
    console.log(`${name}  ${(text.length / 1024).toFixed(0)} kB`);
  } else if (readFileSync(file, 'utf8') !== text) {
    console.error(`${name} is not what the docstrings say: \`make docs\` writes it anew`);
    process.exitCode = 1;
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
