import './form.css';
import { Bridge } from '../shared/bridge';
import { loadTranslations } from '../shared/strings';
import { registerToolkit } from '../shared/toolkit';
import { Form } from './form';
import { pageState } from './protocol';

loadTranslations();
registerToolkit();
const root = document.getElementById('panel');
if (root !== null) new Form(root, new Bridge(pageState)).start();
