/* global RED, $ */
// eslint-disable-next-line @typescript-eslint/no-unused-vars -- the build puts this file into the editor pages, which use it
const goodparts = (() => {
  const color = '#7CC5A3';
  let open;

  const says = (node, opt, key, field, values) =>
    opt ? node._(`validate.${key}`, { label: node._(`label.${field}`), ...values }) : false;

  /**
   * A validator of a number; what is wrong is said with the field's label and what it may be.
   * `when(node)` tells whether the field counts; a field that an older flow does not have gets its default from the runtime.
   */
  const number = (field, { low, high, whole = false, blank = false, when = () => true }) =>
    function (value, opt) {
      const text = String(value ?? '').trim();
      if (value === undefined || (blank && text === '') || !when(this)) return true;
      const n = text === '' ? NaN : Number(text);
      const ok = n >= low && n <= high && (!whole || Number.isInteger(n));
      return ok || says(this, opt, whole ? 'whole' : 'number', field, { low, high });
    };

  /** A validator of the anomaly-model that a node uses; one without a detector's name does where the messages name it. */
  const model = (needed = () => true) =>
    function (value, opt) {
      const found = value && value !== '_ADD_' ? RED.nodes.node(value) : undefined;
      const own = now(this, 'recipe') === '' || now(this, 'recipeType') === 'model';
      const whole = found?.valid !== false && (found?.detector !== '' || !own);
      if (found) return whole || says(this, opt, 'modelInvalid', 'model');
      return !needed(this) || says(this, opt, 'modelMissing', 'model');
    };

  /** What a field holds: in the dialog while it shows this node, else in the node. */
  const now = (node, field) => {
    const input = open === node.id ? $(`#node-input-${field}`) : $();
    if (input.length === 0) return node[field];
    return input.is(':checkbox') ? input.prop('checked') : input.val();
  };

  const opened = node => (open = node.id);
  const closed = () => (open = undefined);

  const property = (field, types) =>
    $(`#node-input-${field}`).typedInput({ default: 'msg', types, typeField: `#node-input-${field}Type` });

  const picture = field => property(field, ['msg', 'flow', 'global', 'jsonata', 'str']);

  /** An empty recipe, which is the model's own detector, has an entry of its own in the list of types. */
  const recipe = node => {
    const own = { value: 'model', label: node._('option.modelDetector'), hasValue: false };
    const input = property('recipe', [own, 'msg', 'flow', 'global', 'str', 'env', 'jsonata']);
    if (!node.recipe) input.typedInput('type', 'model');
  };

  const saveRecipe = () => {
    if ($('#node-input-recipeType').val() !== 'model') return;
    $('#node-input-recipe').val('');
    $('#node-input-recipeType').val('msg');
  };

  /** What a node is called on the canvas: its name, else what it does to its model's detector. */
  const label = node => {
    if (node.name) return node.name;
    const detector = node.recipe ? undefined : RED.nodes.node(node.model)?.detector;
    return detector ? node._('named', { detector }) : node._('palette');
  };

  return { color, says, number, model, now, opened, closed, property, picture, recipe, saveRecipe, label };
})();
