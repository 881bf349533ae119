(() => {
  'use strict';
  // Texts of the pipeline enter the page as text nodes and attribute values alone, never as markup.
  const D = JSON.parse(document.getElementById('data').textContent);
  const [PAD, ROW, HEAD, GAP, LEAST] = D.sizes;
  const $ = id => document.getElementById(id);
  const canvas = $('canvas'), root = $('root'), panel = $('panel'), tip = $('tip');

  const make = (tag, attributes, parent, text) => {
    const e = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const k in attributes) e.setAttribute(k, attributes[k]);
    if (text !== undefined) e.textContent = text;
    if (parent) parent.appendChild(e);
    return e;
  };
  const html = (tag, parent, text, name) => {
    const e = document.createElement(tag);
    if (text !== undefined) e.textContent = text;
    if (name) e.className = name;
    if (parent) parent.appendChild(e);
    return e;
  };

  // ---- what the data says ----
  const names = D.nodes.map(n => {
    const stage = D.stages[n.s];
    return stage.name + (n.v.length ? '[' + n.v.map((v, i) => stage.axes[i] + '=' + v).join(',') + ']' : '');
  });
  const short = n => D.stages[D.nodes[n].s].name + (D.nodes[n].v.length ? '[' + D.nodes[n].v.join(',') + ']' : '');
  const byName = new Map(names.map((name, i) => [name, i]));
  names.forEach((_, i) => { if (!byName.has(short(i))) byName.set(short(i), i); });
  const stageOf = new Map(D.stages.map((s, i) => [s.name, i]));
  const readers = D.nodes.map(() => []);
  D.nodes.forEach((n, i) => n.i.forEach(([, list]) => list.forEach(p => readers[p].push(i))));
  const word = n => D.status ? D.states[D.nodes[n].q[0]][0] : 'cell';
  const why = n => D.texts[D.nodes[n].q[1]];
  const counts = list => {
    const found = new Map();
    list.forEach(n => found.set(D.nodes[n].q[0], (found.get(D.nodes[n].q[0]) || 0) + 1));
    return [...found].sort((a, b) => a[0] - b[0]);
  };
  const members = D.stages.map(s => s.cells.map(c => c[2]));
  const duration = s => s < 0.001 ? '0 ms' : s < 0.1 ? Math.round(s * 1e3) + ' ms' : s < 9.95 ? s.toFixed(1) + ' s'
    : s < 59.5 ? Math.round(s) + ' s' : s < 3600 ? Math.floor(s / 60) + 'm ' + String(Math.floor(s % 60)).padStart(2, '0') + 's'
    : Math.floor(s / 3600) + 'h ' + String(Math.floor(s / 60 % 60)).padStart(2, '0') + 'm';
  const bytes = n => {
    const units = ['B', 'kB', 'MB', 'GB', 'TB'];
    let u = 0;
    while (n >= 999.5 && u < 4) { n /= 1000; u++; }
    return (u && n < 9.95 ? n.toFixed(1) : Math.round(n)) + ' ' + units[u];
  };

  // ---- what is shown ----
  let open = D.stages.map(s => s.open);
  let picked = { stage: null, node: null };
  let query = '', only = null;
  let view = { x: 0, y: 0, k: 1 };
  let cells = [], boxes = [], arrows = [], place = null;

  const size = i => open[i] || D.stages[i].cells.length < 2 ? D.stages[i].full : D.stages[i].shut;
  const first = i => D.stages[i].open ? D.stages[i].full : D.stages[i].shut;

  // Where everything goes: an opened stage moves what is above and below it in its column, and the columns beside.
  const arrange = () => {
    const grown = D.stages.map((s, i) => [s.column, s.y, size(i)[1] - first(i)[1]]).filter(g => g[2]);
    const aside = (column, y) => grown.reduce((sum, [c, at, by]) => c !== column || at === y ? sum : sum + (y > at ? by : -by) / 2, y);
    const wide = D.columns.map(([, w], c) => {
      const mine = D.stages.map((s, i) => s.column === c ? size(i)[0] : 0);
      return Math.max(...mine);
    });
    const left = [];
    let at = 0;
    D.columns.forEach(([x, w], c) => {
      if (c) at += (x - w / 2) - (D.columns[c - 1][0] + D.columns[c - 1][1] / 2);
      left.push(at);
      at += wide[c];
    });
    const spots = D.stages.map((s, i) => ({ x: left[s.column] + wide[s.column] / 2, y: aside(s.column, s.y), w: size(i)[0], h: size(i)[1] }));
    return { left, wide, spots, aside };
  };

  const path = e => {
    const { left, wide, spots, aside } = place, a = spots[e.from], b = spots[e.to];
    if (e.from === e.to) {
      const r = a.x + a.w / 2, t = a.y - a.h / 2;
      return [`M${r - 40} ${t}C${r - 40} ${t - 22} ${r - 16} ${t - 22} ${r - 16} ${t}`, `M${r - 16} ${t}l-3.5 -8h7z`, r, t];
    }
    const back = D.stages[e.to].column < D.stages[e.from].column, side = back ? -1 : 1;
    const level = (c, s) => s < 0 ? left[c] : left[c] + wide[c];
    let x = a.x + side * a.w / 2, y = a.y + e.leaves;
    let d = `M${x} ${y}`;
    x = level(D.stages[e.from].column, side);
    d += `H${x}`;
    const bend = (nx, ny) => { const m = (x + nx) / 2; d += `C${m} ${y} ${m} ${ny} ${nx} ${ny}`; x = nx; y = ny; };
    e.passes.forEach(([c, py]) => { bend(level(c, -side), aside(c, py)); x = level(c, side); d += `H${x}`; });
    bend(level(D.stages[e.to].column, -side) - side * e.run, b.y + e.enters);
    const end = b.x - side * b.w / 2;
    d += `H${end}`;
    return [d, `M${end} ${y}l${-8 * side} -3.8v7.6z`, end, y];
  };

  const marks = { stale: 'M-3 0h6', damaged: 'M-3 -3l6 6m0 -6l-6 6', unknown: 'M0 -3v4m0 1.5v1' };

  const drawCells = (g, s) => {
    const x0 = PAD + s.left, y0 = s.top + s.heads.length * HEAD;
    s.heads.forEach((line, level) => line.forEach(([text, from, span]) => make('text', {
      class: 'label', 'text-anchor': 'middle', x: x0 + (from + span / 2) * s.pitch - GAP / 2, y: s.top + (level + 1) * HEAD - 4,
    }, g, text)));
    s.rows.forEach((text, r) => make('text', { class: 'label', x: PAD, y: y0 + r * ROW + (ROW - GAP) / 2 + 3.6 }, g, text));
    s.cells.forEach(([r, c, n]) => {
      const x = x0 + c * s.pitch, y = y0 + r * ROW, w = s.pitch - GAP, h = ROW - GAP;
      cells[n] = make('rect', { class: 'c ' + word(n), x, y, width: w, height: h, rx: 2.5, 'data-n': n }, g);
      if (marks[word(n)]) make('path', { class: 'mark', d: marks[word(n)], transform: `translate(${x + w / 2} ${y + h / 2})` }, g);
    });
  };

  const drawBar = (g, s, i, w) => {
    let x = PAD;
    const parts = D.status ? counts(members[i]).map(([q, n]) => [D.states[q][0], n]) : [['cell', members[i].length]];
    parts.forEach(([name, n]) => {
      const wide = LEAST + (w - 2 * PAD - LEAST * parts.length) * n / members[i].length;
      make('rect', { class: name, x, y: s.top, width: wide, height: 10 }, g);
      x += wide;
    });
  };

  const say = i => D.status ? (members[i].length === 1 ? word(members[i][0]) : counts(members[i]).map(([q, n]) => n + ' ' + D.states[q][0]).join(' · ')) : '';

  const drawStage = (s, i) => {
    const { x, y, w, h } = place.spots[i];
    const g = make('g', {
      class: 'stage', transform: `translate(${x - w / 2} ${y - h / 2})`, tabindex: 0, role: 'button', 'data-s': i,
      'aria-label': `${s.name}, ${members[i].length === 1 ? '1 node' : members[i].length + ' nodes'}${D.status ? ', ' + say(i) : ''}`,
    }, root);
    make('rect', { class: 'box', width: w, height: h, rx: 7 }, g);
    if (D.status) {
      const worst = counts(members[i]).map(c => c[0]).reduce((a, b) => D.states[b][2] > D.states[a][2] ? b : a);
      make('rect', { class: D.states[worst][0], x: 0, y: 7, width: 4, height: h - 14 }, g);
    }
    const name = make('text', { class: 'name', x: PAD, y: 23 }, g, s.name);
    if (s.count) { const t = make('tspan', { dx: 6, 'font-size': 10.5, 'font-weight': 400 }, name, s.count); t.style.fill = 'var(--soft)'; }
    if (s.sub) make('text', { x: PAD, y: 38.5 }, g, s.sub);
    if (s.cells.length > 1) {
      make('rect', { class: 'toggle', x: w - 26, y: 6, width: 22, height: 22, 'data-toggle': i }, g);
      make('path', { class: 'chevron', d: open[i] ? 'M-4 2l4 -4l4 4' : 'M-4 -2l4 4l4 -4', transform: `translate(${w - 15} 17)` }, g);
      if (open[i]) drawCells(g, s); else drawBar(g, s, i, w);
    }
    if (D.status) make('text', { x: PAD, y: h - 11 }, g, say(i));
    make('text', { class: 'badge', 'text-anchor': 'end', x: w - 8, y: -5 }, g);
    boxes[i] = g;
  };

  const draw = () => {
    place = arrange();
    root.textContent = '';
    cells = [];
    boxes = [];
    arrows = D.edges.map(e => {
      const [d, head, x, y] = path(e);
      const kind = e.gathers ? ' gathers' : e.optional ? ' optional' : '';
      return [make('path', { class: 'edge' + kind, d }, root), make('path', { class: 'head', d: head }, root), x, y];
    });
    D.stages.forEach(drawStage);
    D.edges.forEach((e, i) => {
      if (!e.role || e.from === e.to) return;
      const back = D.stages[e.to].column < D.stages[e.from].column;
      make('text', { class: 'role', 'text-anchor': back ? 'start' : 'end', x: arrows[i][2] + (back ? 11 : -11), y: arrows[i][3] - 4 }, root, e.role);
    });
    paint();
  };

  // ---- search, states, and what hangs together ----
  const hits = () => {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length && only === null) return null;
    return D.nodes.map((_, i) => i).filter(i => {
      const text = (names[i] + ' ' + short(i) + ' ' + word(i)).toLowerCase();
      return words.every(w => text.includes(w)) && (only === null || D.nodes[i].q[0] === only);
    });
  };
  const reach = (n, next) => {
    const found = new Set([n]), todo = [n];
    while (todo.length) for (const m of next(todo.pop())) if (!found.has(m)) { found.add(m); todo.push(m); }
    return found;
  };
  const inputs = n => D.nodes[n].i.flatMap(([, list]) => list);
  let found = null;

  const paint = () => {
    found = hits();
    const hit = found && new Set(found);
    let near = null;
    if (picked.node !== null) near = new Set([...reach(picked.node, inputs), ...reach(picked.node, n => readers[n])]);
    const shows = n => (!hit || hit.has(n)) && (!near || near.has(n));
    const lit = D.stages.map((_, i) => members[i].some(shows));
    cells.forEach((e, n) => {
      e.classList.toggle('far', !shows(n));
      e.classList.toggle('hit', !!hit && hit.has(n));
      e.classList.toggle('picked', n === picked.node);
    });
    boxes.forEach((g, i) => {
      g.classList.toggle('far', !lit[i]);
      g.classList.toggle('picked', i === picked.stage);
      const n = hit ? members[i].filter(m => hit.has(m)).length : 0;
      g.querySelector('.badge').textContent = n ? n + (n === 1 ? ' hit' : ' hits') : '';
    });
    D.edges.forEach((e, i) => {
      const stage = picked.node === null && picked.stage !== null && (e.from === picked.stage || e.to === picked.stage);
      const both = near && lit[e.from] && lit[e.to];
      arrows[i].slice(0, 2).forEach(a => { a.classList.toggle('near', !!(stage || both)); a.classList.toggle('far', !lit[e.from] || !lit[e.to]); });
    });
    $('hits').textContent = found ? (found.length === 1 ? '1 hit' : found.length + ' hits') : '';
    document.querySelectorAll('#legend button').forEach(b => b.setAttribute('aria-pressed', String(Number(b.dataset.state) === only)));
  };

  // ---- the panel ----
  const link = (parent, text, go) => {
    const a = html('a', parent, text);
    a.tabIndex = 0;
    a.setAttribute('role', 'link');
    a.onclick = go;
    a.onkeydown = ev => { if (ev.key === 'Enter') go(); };
    return a;
  };
  const pill = (parent, n) => { if (D.status) html('span', parent, word(n), 'pill ' + word(n)); };
  const nodeList = (parent, list) => {
    const ul = html('ul', parent), most = 200;
    list.slice(0, most).forEach(n => { const li = html('li', ul); link(li, short(n), () => pick(D.nodes[n].s, n, true)); if (D.status && word(n) !== 'fresh') { li.append(' '); pill(li, n); } });
    if (list.length > most) html('li', ul, `and ${list.length - most} more: search for them`, 'soft');
  };
  const row = (table, ...columns) => {
    const tr = html('tr', table);
    columns.forEach((text, i) => html('td', tr, text, i > 1 ? 'number' : ''));
  };

  const describeNode = n => {
    const node = D.nodes[n], stage = D.stages[node.s];
    html('h2', panel, names[n]);
    html('p', panel, `${stage.kind}: ${stage.about}`, 'soft');
    if (D.status) {
      const p = html('p', panel);
      pill(p, n);
      p.append(' ' + why(n));
      if (node.q[2]) { html('h3', panel, 'Key'); html('code', panel, node.q[2], 'all'); }
    }
    html('h3', panel, 'Make it');
    const quoted = t => /^[\w.,:=+@%\/-]+$/.test(t) ? t : "'" + t.replace(/'/g, "'\\''") + "'";
    html('code', panel, [...D.run, short(n)].map(quoted).join(' '), 'all');
    const files = D.status ? node.q[4] : [];
    if (files.length) {
      html('h3', panel, 'Artifacts');
      const table = html('table', panel);
      files.forEach(([name, size, digest]) => row(table, D.texts[name], digest, bytes(size)));
    }
    html('h3', panel, D.status && node.q[0] === 0 ? 'Recipe' : 'Recipe as planned');
    const table = html('table', panel);
    node.r.map(r => D.texts[r]).forEach(line => {
      const at = line.indexOf(' = ');
      row(table, line.slice(0, at).replace(/^param\./, ''), line.slice(at + 3));
    });
    node.i.forEach(([role, list]) => { html('h3', panel, `Reads as ${role}`); nodeList(panel, list); });
    if (readers[n].length) { html('h3', panel, 'Read by'); nodeList(panel, [...new Set(readers[n])]); }
  };

  const describeStage = i => {
    const stage = D.stages[i], list = members[i];
    html('h2', panel, stage.name + (stage.count ? ' ' + stage.count : ''));
    html('p', panel, `${stage.kind}: ${stage.about}`, 'soft');
    if (stage.sub) html('p', panel, stage.sub);
    if (D.status) {
      html('p', panel, say(i));
      const done = list.map(n => D.nodes[n].q).filter(q => q[3] !== null);
      if (done.length) {
        const size = done.reduce((sum, q) => sum + q[4].reduce((s, f) => s + f[1], 0), 0);
        html('p', panel, `${duration(done.reduce((sum, q) => sum + q[3], 0))} and ${bytes(size)} in the store`, 'soft');
      }
    }
    const b = html('button', panel, open[i] ? 'Collapse' : 'Expand');
    b.onclick = () => toggle(i);
    const stages = (title, edges, end) => {
      if (!edges.length) return;
      html('h3', panel, title);
      const ul = html('ul', panel);
      edges.forEach(e => { const li = html('li', ul, e.roles.join(', ') + (end === 'from' ? ' = ' : ' of ')); link(li, D.stages[e[end]].name, () => pick(e[end], null, true)); });
    };
    stages('Reads', D.edges.filter(e => e.to === i), 'from');
    stages('Read as', D.edges.filter(e => e.from === i), 'to');
    html('h3', panel, 'Nodes');
    // What asks for a look comes first.
    nodeList(panel, D.status ? [...list].sort((a, b) => D.states[D.nodes[b].q[0]][2] - D.states[D.nodes[a].q[0]][2]) : list);
  };

  const describe = () => {
    panel.textContent = '';
    panel.hidden = picked.stage === null;
    if (panel.hidden) return;
    const close = html('button', panel, '×', 'close');
    close.setAttribute('aria-label', 'Close');
    close.onclick = () => pick(null, null);
    if (picked.node !== null) describeNode(picked.node); else describeStage(picked.stage);
    panel.scrollTop = 0;
  };

  // A stage with one node is that node.
  const pick = (stage, node, show) => {
    if (stage !== null && node === null && members[stage].length === 1) node = members[stage][0];
    picked = { stage, node };
    const wasHidden = panel.hidden;
    if (node !== null && !cells[node] && members[stage].length > 1) { open[stage] = true; draw(); } else paint();
    describe();
    remember();
    if (show || wasHidden !== panel.hidden) requestAnimationFrame(() => reveal(wasHidden !== panel.hidden && !show));
  };
  const toggle = i => {
    if (members[i].length < 2) return;
    // The box stays where it is on the screen.
    const before = place.spots[i];
    const [bx, by] = [before.x - before.w / 2, before.y - before.h / 2];
    open[i] = !open[i];
    if (!open[i] && picked.stage === i) picked.node = null;
    draw();
    const after = place.spots[i];
    view.x += (bx - (after.x - after.w / 2)) * view.k;
    view.y += (by - (after.y - after.h / 2)) * view.k;
    move();
    describe();
    remember();
  };

  // ---- zoom and pan ----
  const move = () => root.setAttribute('transform', `translate(${view.x} ${view.y}) scale(${view.k})`);
  const zoom = (factor, x, y) => {
    const k = Math.min(8, Math.max(0.02, view.k * factor));
    view = { x: x - (x - view.x) * k / view.k, y: y - (y - view.y) * k / view.k, k };
    move();
  };
  const middle = () => { const r = canvas.getBoundingClientRect(); return [r.width / 2, r.height / 2]; };
  const fit = () => {
    const r = canvas.getBoundingClientRect(), m = 28, s = place.spots;
    const passes = D.edges.flatMap(e => e.passes.map(([c, y]) => place.aside(c, y)));
    const x0 = Math.min(...s.map(p => p.x - p.w / 2)), x1 = Math.max(...s.map(p => p.x + p.w / 2));
    const y0 = Math.min(...s.map(p => p.y - p.h / 2), ...passes) - 14, y1 = Math.max(...s.map(p => p.y + p.h / 2), ...passes);
    const k = Math.min(1.6, (r.width - 2 * m) / (x1 - x0), (r.height - 2 * m) / (y1 - y0));
    view = { k, x: (r.width - (x0 + x1) * k) / 2, y: (r.height - (y0 + y1) * k) / 2 };
    move();
  };
  // Brings what is picked into sight, unless it is.
  const reveal = gently => {
    if (picked.stage === null) return;
    const e = picked.node !== null && cells[picked.node] || boxes[picked.stage];
    const a = e.getBoundingClientRect(), r = canvas.getBoundingClientRect();
    if (a.left >= r.left && a.right <= r.right && a.top >= r.top && a.bottom <= r.bottom) return;
    if (gently && a.right > r.right) view.x -= a.right - r.right + 20;
    else { view.x += r.left + r.width / 2 - (a.left + a.width / 2); view.y += r.top + r.height / 2 - (a.top + a.height / 2); }
    move();
  };

  const pointers = new Map();
  let moved = 0, pinch = 0;
  canvas.addEventListener('wheel', ev => {
    ev.preventDefault();
    const r = canvas.getBoundingClientRect();
    const step = ev.deltaY * (ev.deltaMode === 1 ? 16 : 1) * (ev.ctrlKey ? 4 : 1);
    zoom(Math.exp(-Math.max(-400, Math.min(400, step)) / 500), ev.clientX - r.left, ev.clientY - r.top);
  }, { passive: false });
  canvas.addEventListener('pointerdown', ev => { if (!pointers.size) moved = 0; pointers.set(ev.pointerId, [ev.clientX, ev.clientY]); pinch = 0; });
  addEventListener('pointermove', ev => {
    const last = pointers.get(ev.pointerId);
    if (!last) return;
    if (pointers.size === 1) {
      moved += Math.abs(ev.clientX - last[0]) + Math.abs(ev.clientY - last[1]);
      if (moved > 4) { canvas.classList.add('dragging'); tip.hidden = true; view.x += ev.clientX - last[0]; view.y += ev.clientY - last[1]; move(); }
    }
    pointers.set(ev.pointerId, [ev.clientX, ev.clientY]);
    if (pointers.size === 2) {
      moved = 9;
      const [a, b] = [...pointers.values()], gap = Math.hypot(a[0] - b[0], a[1] - b[1]), r = canvas.getBoundingClientRect();
      if (pinch) zoom(gap / pinch, (a[0] + b[0]) / 2 - r.left, (a[1] + b[1]) / 2 - r.top);
      pinch = gap;
    }
  });
  ['pointerup', 'pointercancel'].forEach(kind => addEventListener(kind, ev => { pointers.delete(ev.pointerId); canvas.classList.remove('dragging'); }));
  const target = ev => {
    const cell = ev.target.closest('[data-n]'), flip = ev.target.closest('[data-toggle]'), stage = ev.target.closest('[data-s]');
    return { node: cell && Number(cell.dataset.n), flip: flip && Number(flip.dataset.toggle), stage: stage && Number(stage.dataset.s) };
  };
  canvas.addEventListener('click', ev => {
    if (moved > 4) return;
    const t = target(ev);
    if (t.flip !== null) toggle(t.flip);
    else if (t.node !== null) pick(D.nodes[t.node].s, t.node);
    else pick(t.stage, null);
  });
  canvas.addEventListener('dblclick', ev => { const t = target(ev); if (t.stage !== null && t.node === null && t.flip === null) toggle(t.stage); });
  canvas.addEventListener('pointermove', ev => {
    const t = target(ev);
    tip.hidden = t.node === null && t.stage === null || pointers.size > 0;
    if (tip.hidden) return;
    const n = t.node !== null ? t.node : members[t.stage].length === 1 ? members[t.stage][0] : null;
    const stage = D.stages[t.stage];
    tip.textContent = n !== null ? names[n] + (D.status ? `\n${word(n)}: ${why(n)}` : '') : `${stage.name} ${stage.count}\n${stage.kind}: ${stage.about}`;
    const r = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(ev.clientX + 14, innerWidth - r.width - 8)) + 'px';
    tip.style.top = (ev.clientY + 18 + r.height > innerHeight ? ev.clientY - r.height - 10 : ev.clientY + 18) + 'px';
  });
  canvas.addEventListener('pointerleave', () => { tip.hidden = true; });

  // ---- keys ----
  const step = (dx, dy) => {
    if (picked.stage === null) return pick(0, null, true);
    const s = D.stages[picked.stage];
    if (picked.node !== null && s.cells.length > 1) {
      const [r, c] = s.cells.find(cell => cell[2] === picked.node);
      const score = ([r2, c2]) => dx ? ((c2 - c) * dx > 0 ? Math.abs(c2 - c) + 99 * Math.abs(r2 - r) : Infinity) : ((r2 - r) * dy > 0 ? Math.abs(r2 - r) + 99 * Math.abs(c2 - c) : Infinity);
      const best = s.cells.reduce((a, b) => score(b) < score(a) ? b : a, s.cells[0]);
      if (score(best) < Infinity) return pick(picked.stage, best[2], true);
    }
    const from = place.spots[picked.stage];
    const far = i => {
      const p = place.spots[i], ahead = dx ? (D.stages[i].column - s.column) * dx : D.stages[i].column === s.column ? (p.y - from.y) * dy : 0;
      return ahead > 0 ? (dx ? ahead * 1e5 + Math.abs(p.y - from.y) : ahead) : Infinity;
    };
    const best = D.stages.map((_, i) => i).reduce((a, b) => far(b) < far(a) ? b : a, picked.stage);
    if (far(best) < Infinity) pick(best, null, true);
  };
  const setTheme = name => { document.documentElement.dataset.theme = name; };
  const flipTheme = () => {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    setTheme(dark ? 'light' : 'dark');
  };
  const keys = {
    '/': () => $('search').focus(), '+': () => zoom(1.25, ...middle()), '=': () => zoom(1.25, ...middle()), '-': () => zoom(0.8, ...middle()),
    '0': fit, 't': flipTheme, '?': () => $('keys').showModal(),
    'e': () => { if (picked.stage !== null) toggle(picked.stage); },
    'ArrowLeft': () => step(-1, 0), 'ArrowRight': () => step(1, 0), 'ArrowUp': () => step(0, -1), 'ArrowDown': () => step(0, 1),
    'Escape': () => { if (picked.node !== null && members[picked.stage].length > 1) pick(picked.stage, null); else if (picked.stage !== null) pick(null, null); else { $('search').value = query = ''; only = null; paint(); remember(); } },
    'Enter': ev => {
      const focused = ev.target.closest && ev.target.closest('[data-s]');
      if (focused && Number(focused.dataset.s) !== picked.stage) pick(Number(focused.dataset.s), null, true);
      else if (picked.stage !== null && picked.node === null) pick(picked.stage, members[picked.stage][0], true);
    },
  };
  addEventListener('keydown', ev => {
    if (ev.ctrlKey || ev.metaKey || ev.altKey || $('keys').open || /^(INPUT|BUTTON|A)$/.test(ev.target.tagName)) return;
    const act = keys[ev.key];
    if (act) { ev.preventDefault(); act(ev); }
  });
  let next = -1;
  // A new search is about all nodes, whatever was chosen before.
  const seek = () => { next = -1; pick(null, null); };
  $('search').addEventListener('input', ev => { query = ev.target.value; seek(); });
  $('search').addEventListener('keydown', ev => {
    if (ev.key === 'Enter' && found && found.length) { next = (next + (ev.shiftKey ? found.length - 1 : 1)) % found.length; const n = found[next]; pick(D.nodes[n].s, n, true); }
    if (ev.key === 'Escape') { ev.target.value = query = ''; paint(); remember(); ev.target.blur(); }
  });
  $('in').onclick = () => zoom(1.25, ...middle());
  $('out').onclick = () => zoom(0.8, ...middle());
  $('fit').onclick = fit;
  $('theme').onclick = flipTheme;
  $('help').onclick = () => $('keys').showModal();

  // ---- the address: #node=NAME, #stage=NAME, with q=WORDS, state=STATE, expand=STAGE,…, theme=dark ----
  const remember = () => {
    const p = new URLSearchParams();
    if (picked.node !== null) p.set('node', names[picked.node]);
    else if (picked.stage !== null) p.set('stage', D.stages[picked.stage].name);
    if (query) p.set('q', query);
    if (only !== null) p.set('state', D.states[only][0]);
    const more = D.stages.filter((s, i) => open[i] && !s.open).map(s => s.name);
    if (more.length) p.set('expand', more.join(','));
    const text = p.toString();
    try { history.replaceState(null, '', text ? '#' + text : location.pathname + location.search); } catch { /* a page in a frame may not */ }
  };
  const recall = () => {
    const p = new URLSearchParams(location.hash.slice(1));
    if (p.has('theme')) setTheme(p.get('theme') === 'dark' ? 'dark' : 'light');
    open = D.stages.map(s => s.open);
    (p.get('expand') || '').split(',').forEach(name => { if (stageOf.has(name)) open[stageOf.get(name)] = true; });
    query = $('search').value = p.get('q') || '';
    const state = D.states.findIndex(s => s[0] === p.get('state'));
    only = D.status && state >= 0 ? state : null;
    picked = { stage: null, node: null };
    const n = byName.get(p.get('node'));
    if (n !== undefined) { picked = { stage: D.nodes[n].s, node: n }; open[D.nodes[n].s] = true; }
    else if (stageOf.has(p.get('stage'))) { const s = stageOf.get(p.get('stage')); picked = { stage: s, node: members[s].length === 1 ? members[s][0] : null }; }
    draw();
    describe();
    fit();
  };

  if (D.status) {
    counts(D.nodes.map((_, i) => i)).forEach(([q, n]) => {
      const [name, means] = D.states[q], b = html('button', $('legend'));
      b.dataset.state = q;
      b.title = name + ': ' + means;
      const icon = make('svg', { viewBox: '0 0 13 13', 'aria-hidden': 'true' }, b);
      make('rect', { class: name, x: 0.7, y: 0.7, width: 11.6, height: 11.6, rx: 2.5 }, icon);
      if (marks[name]) make('path', { class: 'mark', d: marks[name], transform: 'translate(6.5 6.5)' }, icon);
      b.append(`${n} ${name}`);
      b.onclick = () => { only = only === q ? null : q; seek(); };
    });
  }
  addEventListener('hashchange', recall);
  recall();
})();
