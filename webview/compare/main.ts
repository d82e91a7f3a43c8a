import './compare.css';
import { Bridge } from '../shared/bridge';
import { loadTranslations } from '../shared/strings';
import { registerToolkit } from '../shared/toolkit';
import { Panel } from './panel';
import { panelState } from './protocol';

loadTranslations();
registerToolkit();
const root = document.getElementById('panel');
if (root !== null) new Panel(root, new Bridge(panelState)).start();
