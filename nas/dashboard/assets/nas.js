// Controls that set fields of the address, and what a browser alone can know: its looks, clicks on figures, the pulse.
(function () {
  "use strict";
  const { createElement: el, useState, useEffect, useLayoutEffect, useId } = window.React;
  const MOVED = "_dashprivate_pushstate"; // what dcc.Link tells dcc.Location

  const AXES = ["x", "y", "z", "logx", "logy"];

  // `quietly` leaves the history as it is: many small steps are none to go back to.
  function go(change, quietly) {
    const query = new URLSearchParams(window.location.search);
    const axes = AXES.map((name) => query.get(name)).join();
    query.delete("page");
    change(query);
    if (axes !== AXES.map((name) => query.get(name)).join()) ["zoom", "brush"].forEach((name) => query.delete(name));
    const search = query.toString();
    const href = window.location.pathname + (search ? "?" + search : "");
    if (href === window.location.pathname + window.location.search) return;
    window.history[quietly ? "replaceState" : "pushState"]({}, "", href);
    window.dispatchEvent(new CustomEvent(MOVED));
  }

  function set(query, field, value) {
    if (value === "" || value === null || value === undefined) query.delete(field);
    else query.set(field, value);
  }

  // Plotly is on its way where the first page has figures; what Dash waits for is this one, not another.
  const early = document.getElementById("plotly");
  if (early && !window.Plotly) {
    window.Plotly = new Promise((ready, failed) => {
      early.addEventListener("load", () => ready(window.Plotly));
      early.addEventListener("error", () => failed(new Error("plotly.js did not load")));
    });
  }

  // A control answers at once and is put right when the page is drawn anew.
  function useKnown(given) {
    const [value, change] = useState(given);
    useEffect(() => change(given), [given]);
    return [value, change];
  }

  function Pick(props) {
    const id = useId();
    const [value, change] = useKnown(props.value || "");
    const pick = (event) => {
      change(event.target.value);
      go((query) => set(query, props.field, event.target.value === props.default ? "" : event.target.value));
    };
    const options = props.options.map((o) => el("option", { key: o.value, value: o.value }, o.label));
    return el("label", { className: "control", htmlFor: id },
      el("span", null, props.label), el("select", { id, name: props.field, value, onChange: pick }, options));
  }

  function Check(props) {
    const [checked, change] = useKnown(Boolean(props.checked));
    const tick = (event) => {
      const now = event.target.checked;
      const several = props.among || new URLSearchParams(window.location.search).getAll(props.field);
      const kept = several.filter((value) => value !== props.value).concat(now ? [props.value] : []);
      if (props.among && !kept.length) return;
      change(now);
      go((query) => {
        if (!props.several) {
          set(query, props.field, now ? (props.on === undefined ? props.value : props.on) : props.off);
          return;
        }
        query.delete(props.field);
        kept.forEach((value) => query.append(props.field, value));
      });
    };
    const box = { type: "checkbox", checked, onChange: tick, "aria-label": props.hint || undefined };
    return el("label", { className: "control check", title: props.hint }, el("input", box), el("span", null, props.label));
  }

  function short(value, unit) {
    if (unit === "ratio") return (100 * value).toFixed(1) + " %";
    const size = Math.abs(value);
    const scale = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e3 ? [1e3, "k"] : [1, ""];
    return Number((value / scale[0]).toPrecision(3)) + scale[1] + (unit && unit !== "count" ? " " + unit : "");
  }

  const STEPS = 200;

  function Range(props) {
    const id = useId();
    const to = props.log ? Math.log : Number, from = props.log ? Math.exp : Number;
    const free = props.end === "low" ? 0 : STEPS;
    const at = props.value === null || props.value === undefined ? free
      : Math.round((to(Math.max(props.value, props.low)) - to(props.low)) / (to(props.high) - to(props.low)) * STEPS);
    const [step, change] = useKnown(Math.min(Math.max(at, 0), STEPS));
    const value = from(to(props.low) + (to(props.high) - to(props.low)) * step / STEPS);
    const keep = () => {
      if (step !== at) go((query) => set(query, props.field, step === free ? "" : value.toPrecision(4)));
    };
    const words = step === free ? "any" : short(value, props.unit);
    return el("label", { className: "control range", htmlFor: id },
      el("span", null, props.label, " ", el("output", null, words)),
      el("input", { id, name: props.field, type: "range", min: 0, max: STEPS, value: step, "aria-valuetext": words,
        onChange: (event) => change(Number(event.target.value)), onPointerUp: keep, onKeyUp: keep, onBlur: keep }));
  }

  function Annotation(props) {
    const subject = JSON.stringify([props.study, props.number]);
    const stored = JSON.stringify([props.note, props.tags, props.hidden]);
    const id = useId();
    const [draft, change] = useState({ note: props.note, tags: props.tags, hidden: props.hidden });
    const [clean, mark] = useState(stored);
    // what is being typed stays while the page is drawn anew; another trial, or a newer note beside no draft, does not
    useEffect(() => {
      change({ note: props.note, tags: props.tags, hidden: props.hidden });
      mark(stored);
    }, [subject]);
    useEffect(() => {
      if (JSON.stringify([draft.note, draft.tags, draft.hidden]) === clean) {
        change({ note: props.note, tags: props.tags, hidden: props.hidden });
      }
      mark(stored);
    }, [stored]);
    const edit = (field, value) => change(Object.assign({}, draft, { [field]: value }));
    const save = (event) => {
      event.preventDefault();
      props.setProps({ wish: Object.assign({ at: Date.now(), study: props.study, number: props.number }, draft) });
    };
    return el("form", { className: "annotation", onSubmit: save },
      el("label", { htmlFor: id + "n" }, "Note"),
      el("textarea", { id: id + "n", rows: 3, maxLength: 4000, value: draft.note, onChange: (e) => edit("note", e.target.value) }),
      el("label", { htmlFor: id + "t" }, "Tags, with commas between"),
      el("input", { id: id + "t", value: draft.tags, onChange: (e) => edit("tags", e.target.value) }),
      el("label", { className: "control check" },
        el("input", { type: "checkbox", checked: draft.hidden, onChange: (e) => edit("hidden", e.target.checked) }),
        el("span", null, "hide it from pictures and fronts")),
      el("button", { type: "submit" }, "Keep"));
  }

  function Copy(props) {
    const [words, say] = useState("Copy");
    const copy = () => {
      const done = () => { say("Copied"); setTimeout(() => say("Copy"), 1500); };
      if (navigator.clipboard) navigator.clipboard.writeText(props.text).then(done, () => say("Select it by hand"));
      else say("Select it by hand");
    };
    return el("div", { className: "copy" }, el("code", null, props.text),
      el("button", { type: "button", onClick: copy, "aria-label": "copy " + props.text }, words));
  }

  // The page itself. Dash would mount everything anew whenever children change, and with it lose zoom, focus and what
  // is being typed; a tree given as a value is drawn by React as it is meant to be, where only differences change.

  const known = (id) => (id !== null && typeof id === "object" ? JSON.stringify(id) : id);

  function draw(node, act, position) {
    if (Array.isArray(node)) return node.map((each, index) => draw(each, act, index));
    if (node === null || typeof node !== "object") return node;
    const { children, ...rest } = node.props;
    const id = known(rest.id);
    if (id !== undefined) rest.id = id;
    const key = id === undefined ? String(position) : id;
    const inside = children === undefined || children === null ? [] : [].concat(children).map((c, i) => draw(c, act, i));
    return el(window[node.namespace][node.type], { ...rest, key, setProps: (change) => act(node, change) }, ...inside);
  }

  function Page(props) {
    const tree = props.tree || (first && first.tree);
    const title = props.title || (first && first.title);
    const place = props.place || window.location.pathname;
    const act = (node, change) => {
      if (node.type === "Annotation" && change.wish) props.setProps(change);
      if (node.type === "Graph" && "clickData" in change) clicked(node.props.figure, change.clickData);
      if (node.type === "Graph" && "selectedData" in change && known(node.props.id) === "plot-front") brushed(change.selectedData);
      if (node.type === "Graph" && "relayoutData" in change && known(node.props.id) === "plot-front") zoomed(change.relayoutData);
    };
    useLayoutEffect(() => {
      const standing = document.getElementById("first");
      if (tree && standing) standing.remove();
    }, [Boolean(tree)]);
    useEffect(() => {
      if (title) document.title = title + " - nas";
    }, [title]);
    return el("main", { id: props.id, tabIndex: -1, key: place }, tree ? draw(tree, act, 0) : null);
  }

  function clicked(figure, data) {
    const point = data && data.points && data.points[0];
    const trace = point && figure.data[point.curveNumber];
    const study = trace && trace.meta && trace.meta.study;
    if (!study || point.customdata === undefined) return;
    go((query) => set(query, "pick", study + ":" + point.customdata));
  }

  function brushed(data) {
    const range = data && data.range;
    if (range && range.x && range.y) {
      const text = [...range.x, ...range.y].map((value) => Number(Number(value).toPrecision(6))).join(",");
      go((query) => set(query, "brush", text));
    } else if (!data) {
      go((query) => query.delete("brush"));
    }
  }

  // More of the trials of the part that is looked at are drawn; nothing of it is told where that is all.
  function zoomed(data) {
    const plot = document.querySelector("#plot-front .js-plotly-plot");
    const shown = plot && plot._fullLayout;
    if (!data || !shown || !shown.xaxis || !Object.keys(data).some((key) => /^[xy]axis\./.test(key))) return;
    const ends = (axis) => axis.range.map((value) => Number((axis.type === "log" ? Math.pow(10, value) : value).toPrecision(10)));
    const whole = shown.xaxis.autorange && shown.yaxis.autorange;
    go((query) => set(query, "zoom", whole ? "" : [...ends(shown.xaxis), ...ends(shown.yaxis)].join(",")), true);
  }

  window.nas_dashboard = { Page, Pick, Check, Range, Annotation, Copy };

  // -- looks

  const wish = window.matchMedia("(prefers-color-scheme: dark)");
  const THEMES = ["auto", "light", "dark"];

  function theme() {
    try { return window.localStorage.getItem("nas-theme") || "auto"; } catch (error) { return "auto"; }
  }

  function look() {
    const dark = theme() === "dark" || (theme() === "auto" && wish.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    const narrow = window.innerWidth < 600;
    document.cookie = "nas_look=" + (dark ? "dark" : "light") + (narrow ? "-narrow" : "-wide") + "; path=/; SameSite=Strict; max-age=31536000";
    return { dark, narrow };
  }

  let seen = look();

  // What came with the first answer, if it is what would be drawn now.
  const first = (() => {
    const element = document.getElementById("first-page");
    if (!element) return null;
    const page = JSON.parse(element.textContent);
    element.remove();
    const here = page.place === window.location.pathname && page.search === window.location.search;
    return here && page.look.dark === seen.dark && page.look.narrow === seen.narrow ? page : null;
  })();

  function looked() {
    const now = look();
    if (now.dark === seen.dark && now.narrow === seen.narrow) return;
    seen = now;
    window.dash_clientside.set_props("look", { data: now });
  }

  wish.addEventListener("change", looked);
  window.addEventListener("resize", looked);

  // -- the pulse

  let pulse = null, session = null;

  async function beat() {
    const lost = document.getElementById("lost");
    if (document.hidden || pulse === null || !lost) return;
    try {
      const answer = await fetch("/pulse", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const [run, word] = (await answer.text()).split(" ");
      if (session !== null && run !== session) window.location.reload();
      session = run;
      lost.textContent = "";
      if (word !== pulse) {
        pulse = word;
        window.dash_clientside.set_props("pulse", { data: word });
      }
    } catch (error) {
      if (!lost.textContent) lost.textContent = "The dashboard does not answer since " + new Date().toLocaleTimeString() + "; what you see is as of then.";
    }
  }

  window.setInterval(beat, 1000);

  // -- what the page's callbacks call

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    nas: {
      look: function (_, word, before) {
        if (pulse === null) pulse = word;
        seen = look();
        const same = before && before.dark === seen.dark && before.narrow === seen.narrow;
        if (same) return window.dash_clientside.no_update;
        return first && !before ? Object.assign({ shown: first.pulse }, seen) : seen;
      },
      theme: function (clicks) {
        if (!clicks) return;
        const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
        try { window.localStorage.setItem("nas-theme", next); } catch (error) { /* a private window keeps nothing */ }
        looked();
        document.getElementById("theme").textContent = "Theme: " + next;
      },
    },
  });
})();
