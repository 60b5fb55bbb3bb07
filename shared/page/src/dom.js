// The library, as all other modules use it.
import {h} from 'preact';
import htm from './vendor/htm.js';

export {render} from 'preact';
export {useState, useEffect, useRef, useMemo, useCallback} from 'preact/hooks';
export const html = htm.bind(h);

/** cls joins the names of classes that are not empty. */
export const cls = (...names) => names.filter(Boolean).join(' ');
