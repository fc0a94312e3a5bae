// The function node "show" of dashboard.json; see dashboard.mjs.

/**
 * Sends every widget what it shows, four times a second at most and only where it changed, and saves the line every two
 * seconds. Outputs: head, live, verdict, trend, histogram, counters, gallery, fit, engine, evaluation.
 */
export function show(msg, { flow, node, context, fs, path }) {
  const soon = (what, wait, act) => {
    // a time and not a flag: it may come back from a context store on disk
    if ((context.get(what) || 0) > Date.now()) return;
    context.set(what, Date.now() + wait);
    setTimeout(() => {
      context.set(what, 0);
      act(flow.get('line'));
    }, wait);
  };
  const median = values => [...values].sort((a, b) => a - b)[values.length >> 1] || 0;

  const evaluation = ({ results, tests = [] }) => {
    const all = Object.values(results);
    const count = (bad, ng) => all.filter(r => r.bad === bad && r.ng === ng).length;
    const good = all.filter(r => !r.bad);
    const wins = all
      .filter(r => r.bad)
      .flatMap(b => good.map(g => (b.score > g.score ? 1 : b.score === g.score ? 0.5 : 0)));
    const mistakes = Object.entries(results)
      .filter(([, r]) => r.bad !== r.ng)
      .map(([file, r]) => ({ file: file.split(/[\\/]/).slice(-2).join('/'), score: r.score, bad: r.bad }));
    return {
      seen: all.length,
      total: tests.length,
      confusion: {
        hit: count(true, true),
        missed: count(true, false),
        alarm: count(false, true),
        pass: count(false, false)
      },
      auroc: wins.length ? wins.reduce((sum, win) => sum + win, 0) / wins.length : null,
      mistakes: mistakes.slice(-30)
    };
  };

  const views = line => {
    const { counts, since, recent, ng, limit, byHand, detector, last, shown, fit, error, ready, preparing, times } =
      line;
    const good = path.join(line.home, 'good');
    const kept = fs.readdirSync(good).map(name => fs.statSync(path.join(good, name)).ctimeMs);
    const waiting = kept.filter(at => at > (line.fittedAt || 0)).length;
    const numbers = recent.map(one => one.score);
    return [
      { error },
      { shown },
      { last, ready, preparing, fitting: Boolean(fit), limit, error },
      { recent: recent.slice(-120), limit },
      { good: detector ? detector.scores : [], recent: numbers, limit, byHand: Boolean(byHand) },
      { counts, since },
      { ng: ng.map(({ id, part, score, at, good: added }) => ({ id, part, score, at, good: added })) },
      {
        fit,
        ready,
        detector: detector && { version: detector.version, images: detector.images },
        kept: kept.length,
        waiting
      },
      { ...line.engine, ms: median(times) },
      evaluation(line)
    ];
  };

  const send = line => {
    const before = context.get('before') || [];
    const now = views(line);
    const texts = now.map(view => JSON.stringify(view));
    context.set('before', texts);
    node.send(now.map((view, i) => (texts[i] === before[i] ? null : { payload: view })));
  };

  const save = ({ home, n, counts, since, known, recent, ng, byHand, fittedAt }) => {
    const place = path.join(home, 'line.json');
    // a name of its own: on a slow disk the one before may still be written
    const draft = `${place}.${Date.now()}`;
    fs.promises
      .writeFile(draft, JSON.stringify({ n, counts, since, known, recent, ng, byHand, fittedAt }))
      .then(() => fs.promises.rename(draft, place))
      .catch(error => node.error(`The line cannot be saved: ${error.message}`, msg));
  };

  soon('views', 250, send);
  soon('save', 2000, save);
  return null;
}
