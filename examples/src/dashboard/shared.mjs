// Methods that every widget of dashboard.json has. A ui-template can import nothing, so scripts/build-examples.mjs writes them into
// each, and in the place of TEXTS what the widget says in all languages, of LANGUAGES their names.
/* global TEXTS, LANGUAGES */

export const shared = {
  /** What a widget's data() returns. */
  start(own) {
    return { texts: Object.freeze(TEXTS), language: this.pickLanguage(), width: 0, height: 0, ...own };
  },

  /** mounted() of a widget: follows the language that is chosen in the head, and the size of its plot, if it has one. */
  begin() {
    window.addEventListener('goodparts', this.languageChanged);
    if (!this.$refs.plot) return;
    this.observer = new ResizeObserver(([{ contentRect }]) => {
      this.width = contentRect.width;
      this.height = contentRect.height;
    });
    this.observer.observe(this.$refs.plot);
  },

  /** unmounted() of a widget. */
  end() {
    window.removeEventListener('goodparts', this.languageChanged);
    if (this.observer) this.observer.disconnect();
  },

  languageChanged() {
    this.language = this.pickLanguage();
  },

  /** The language that was chosen, else the first of the browser's that there is. */
  pickLanguage() {
    const wanted = [localStorage.getItem('goodparts-language'), ...navigator.languages];
    const found = wanted.map(tag => tag && LANGUAGES.find(one => one.slice(0, 2) === tag.slice(0, 2).toLowerCase()));
    return found.find(Boolean) || 'en';
  },

  t(key, values = {}) {
    return this.texts[this.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  },

  number(value, digits = 3) {
    if (!Number.isFinite(value)) return '–';
    return new Intl.NumberFormat(this.language, {
      maximumFractionDigits: digits,
      minimumFractionDigits: digits
    }).format(value);
  },

  time(at) {
    return new Intl.DateTimeFormat(this.language, { timeStyle: 'short' }).format(at);
  },

  /** Tells the flow which button was pressed. */
  tell(button, value) {
    this.$socket.emit('widget-action', this.id, { payload: { button, value } });
  },

  picture(kind, name) {
    const root = (this.setup && this.setup.RED && this.setup.RED.httpNodeRoot) || '/';
    return `${root.replace(/\/$/, '')}/goodparts/pictures/${kind}/${name}`;
  }
};
